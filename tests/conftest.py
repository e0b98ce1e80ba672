"""What holds for every test."""

import hypothesis

# A busy machine is no failure, and a test that fails fails again.
hypothesis.settings.register_profile(
    "here", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("here")
