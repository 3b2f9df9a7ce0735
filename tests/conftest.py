"""Settings of every test: Hypothesis draws the same examples each time and has no deadline, for kernels compile."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fixed", deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
# For the runs where Python or a bounds check stands in for compiled code.
settings.register_profile("slow-engine", settings.get_profile("fixed"), max_examples=25)
settings.load_profile("fixed")
