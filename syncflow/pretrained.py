"""Models of transformers from a folder or the hub, whole: what a file lacks, transformers makes at random."""

from typing import Any, TypeVar

from safetensors import SafetensorError

M = TypeVar("M")
NAMED = 3  # tensors in a message


def load_whole(cls: type[M], place: Any, **options: Any) -> M:
    """`cls.from_pretrained(place)`, from safetensors, where the weights have every tensor of the model.

    Args:
        cls: a model of transformers, for example T5EncoderModel.
        place: folder or hub name.
        options: of from_pretrained.

    Raises:
        OSError, ValueError: nothing can be read there, or the weights are another model's: tensors are
            missing or have another shape.
    """
    try:
        model, told = cls.from_pretrained(  # type: ignore[attr-defined]
            place,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told, and refused below by their names
            **options,
        )
    except (RuntimeError, SafetensorError) as error:  # a damaged file
        raise ValueError(" ".join(str(error).split())) from None
    wrong = [f"{name} is missing" for name in sorted(told["missing_keys"])]
    wrong += [f"{each[0]} has another shape" for each in sorted(told["mismatched_keys"])]
    if wrong:
        raise ValueError(
            f"other weights than this model's: {'; '.join(wrong[:NAMED])}; {len(wrong)} tensors in all"
        )
    return model
