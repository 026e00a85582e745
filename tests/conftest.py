import signal

from hypothesis import HealthCheck, settings

# Speed is measured by benchmarks, never by a test: a busy machine must not fail one.
settings.register_profile("hawse", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hawse")

# A shell starts its background jobs deaf to SIGINT, and what they start inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)
