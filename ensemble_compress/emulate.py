"""The door to running exported C models: everything here is `writers.host`, which compiles for this machine and runs there.

It does nothing of its own. Writers verify their exports by `writers.host`, and may not import what lies above them; who compares
models imports it from here.
"""

from ensemble_compress.writers.host import Answers, cast_rows, run_c, run_headers

__all__ = ["Answers", "cast_rows", "run_c", "run_headers"]
