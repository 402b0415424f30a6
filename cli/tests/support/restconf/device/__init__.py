"""The backend of jetconf for the tests: a device with a host name, as in device.yang."""
