"""Operations: what people run to set up and look after secrets. Imports ``src.utils.secrets``, never the reverse."""
