"""The array API's namespace with every function compiled: for test suites of others.

Each function that gives tensors runs through `@df.function`, with its tensors as arguments.

    ARRAY_API_TESTS_MODULE=dualflow.testing.compiled_namespace pytest array_api_tests
"""

from __future__ import annotations

import dualflow
from dualflow.testing.compiled import offered, submodule

globals().update(offered(dualflow), linalg=submodule("linalg"), fft=submodule("fft"))
