"""The HTTP API under Ray Serve: many replicas of the model behind one queue."""

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.serving.config import ServerConfig


def main() -> int:
    config = parse_arguments(ServerConfig, description=__doc__ or "")

    from syncflow.serving.access import token_for
    from syncflow.shipped import checked_folder

    token_for(config.host)
    checked_folder(config.generate.checkpoint)

    from infra.executors.supervisor import supervised

    def ready(address: str) -> None:
        print(f"{address} is ready; Ctrl-C ends it", flush=True)

    def serve() -> int:
        from infra.serve.run import serve_until_signal

        return serve_until_signal(
            config, ready=lambda at: print(f"{at} is ready; Ctrl-C ends it", flush=True)
        )

    return supervised(serve)


if __name__ == "__main__":
    run(main)
