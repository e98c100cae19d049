"""The only place that knows questionary and rich.

Rules:
- Questions and results go to standard output. Errors go to standard error: one ``error:`` line, then ``hint:`` lines.
- A secret's value is shown only by :meth:`.screen.Screen.show_once`, and only on a terminal.
- Ctrl-C and Ctrl-D mean the same at every question: ``KeyboardInterrupt``, exit code 130, nothing was changed.
- Nothing needs colour (``NO_COLOR``), or more than 40 columns.
- Without a terminal nothing is asked.
"""
