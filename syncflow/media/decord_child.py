"""The program that `decord_backend` runs apart: frames by index to standard output.

It imports nothing of ours, since it runs isolated (`python -I`).
"""

import json
import sys

DISAGREES = 3  # exit status: decord counts other frames than the packets are


def main() -> int:
    """Read a request (JSON) from the first argument, write uint8 `f h w c`."""
    import decord

    request = json.loads(sys.argv[1])
    reader = decord.VideoReader(
        request["path"], width=request["width"], height=request["height"], num_threads=1
    )
    if len(reader) != request["num_frames"]:
        print(f"{len(reader)} frames counted, {request['num_frames']} packets", file=sys.stderr)
        return DISAGREES
    wanted = sorted(set(request["indices"]))
    frames = dict(zip(wanted, reader.get_batch(wanted).asnumpy(), strict=True))
    for index in request["indices"]:
        sys.stdout.buffer.write(frames[index].tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
