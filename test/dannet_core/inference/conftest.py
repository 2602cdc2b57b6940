import pytest
from host_device import format_of


@pytest.fixture(scope="session")
def camera_format():
    return format_of
