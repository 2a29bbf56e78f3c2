"""The fixtures that every test may use."""

from hypothesis import HealthCheck, settings

from tests.quiet_tracing import keep_away

pytest_plugins = [
    "tests.servers.fixtures",
    "tests.postgres",
    "tests.fast",
    "tests.cached",
    "tests.feeding",
]

# A busy machine makes no example wrong.
settings.register_profile(
    "untimed", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")

keep_away()
