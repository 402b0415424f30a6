"""What jetconf asks a backend for: where the data is. In a file, as it is by default."""

from jetconf.data import JsonDatastore as UserDatastore  # noqa: F401
