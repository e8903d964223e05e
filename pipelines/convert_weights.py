"""Convert weights: pickled files to safetensors, and Open-Sora v1.2's formats in and out."""

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.conversion.config import ConvertConfig


def main() -> int:
    config = parse_arguments(ConvertConfig, description=__doc__ or "")
    if config.to == "safetensors":
        from syncflow.conversion.unpickle import convert_to_safetensors

        convert_to_safetensors(config)
        return 0
    from syncflow.conversion.open_sora import export_to_open_sora, import_from_open_sora

    (export_to_open_sora if config.to == "open_sora" else import_from_open_sora)(config)
    return 0


if __name__ == "__main__":
    run(main)
