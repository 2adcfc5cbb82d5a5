"""`python -m export.mmdeploy JOB`, in the export environment: does the task that a JSON file describes.

Exit 3 means that the operator can mend it, and the result then says how.
"""

import ctypes
import json
import signal
import sys
from pathlib import Path

from export.mmdeploy.refused import Refused

MENDABLE = 3
PR_SET_PDEATHSIG = 1


def main() -> int:
    # Nobody waits for the result of an export that was killed.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    job_file = Path(sys.argv[1])
    job = json.loads(job_file.read_text(encoding="utf-8"))
    result = Path(job["result"])
    from export.mmdeploy.tasks import TASKS  # takes seconds, and its warnings belong into the log

    try:
        done = TASKS[job["task"]](job)
    except Refused as refusal:
        result.write_text(json.dumps({"refused": str(refusal)}), encoding="utf-8")
        return MENDABLE
    result.write_text(json.dumps(done), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
