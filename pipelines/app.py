"""A web page that makes clips from text, and audio for videos; and the same over HTTP, below /v1."""

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.serving.config import ServiceConfig


def main() -> int:
    config = parse_arguments(ServiceConfig, description=__doc__ or "")

    from syncflow.serving.access import token_for
    from syncflow.shipped import checked_folder

    token = token_for(config.host)
    checked_folder(config.generate.checkpoint)

    from syncflow.serving.api import make_api
    from syncflow.serving.listen import listen
    from syncflow.serving.maker import ClipMaker
    from syncflow.serving.page import add_page
    from syncflow.serving.service import ClipService

    maker = ClipMaker(config)
    service = ClipService(config, about=maker.about, makers=[maker])
    app = add_page(make_api(service), service)

    def ready(address: str) -> None:
        how = "; open it as /?token=..." if token else ""
        print(f"{address} is ready; Ctrl-C ends it" + how, flush=True)

    listen(app, service, config=config, token=token, ready=ready)
    return 0


if __name__ == "__main__":
    run(main)
