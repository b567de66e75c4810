"""Ray gives its workers a low priority; beside anything else that runs here each would take a minute to start."""

import os

os.environ["RAY_worker_niceness"] = "0"  # read by the raylets that these tests start
