"""Compile an exported model for a target and run it on rows.

Now on the machine that Python runs on, by `writers.host`; microcontrollers under emulation get their place here.
"""

from ensemble_compress.writers.host import Answers, cast_rows, run_c, run_headers

__all__ = ["Answers", "cast_rows", "run_c", "run_headers"]
