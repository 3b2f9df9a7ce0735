"""Settings of every test: Hypothesis draws the same examples each time and has no deadline, for kernels compile."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fixed", deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fixed")
