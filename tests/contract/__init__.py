import pytest

# pytest explains a failing assert in modules named test_*, and in those named here.
pytest.register_assert_rewrite("tests.contract.contract")
