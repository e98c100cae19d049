# The application's image. Nothing secret goes in: .dockerignore lets through only what is named there.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
# requirements-cloud.txt adds the SDKs of the cloud stores.
ARG EXTRA_REQUIREMENTS=requirements.txt
COPY requirements.txt requirements-cloud.txt /tmp/
RUN python3 -m venv --copies /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: \
    -r /tmp/requirements.txt \
 && /opt/venv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: \
    -r /tmp/${EXTRA_REQUIREMENTS} \
 && /opt/venv/bin/pip uninstall --yes pip setuptools \
 && find /opt/venv -name __pycache__ -prune -exec rm -rf {} +

FROM ${BASE_IMAGE}
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY main.py ./
COPY config/catalog.toml config/catalog.toml
COPY src/__init__.py src/__init__.py
COPY src/utils src/utils
COPY src/app src/app
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["python", "main.py"]
