"""What every test shares: the CPU, and time for the compiler. Precision stays as a user finds it: x64 is off."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before the first import of JAX; set it yourself to test another device

import hypothesis

hypothesis.settings.register_profile("compiled", deadline=None)  # the first call of an example compiles
hypothesis.settings.load_profile("compiled")
