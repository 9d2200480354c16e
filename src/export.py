"""Write a run's model in another format, and prove that it predicts the same: ``run=t7 format=onnx``."""

from src.config import shell
from src.run.folder import Run


def export(
    run: str, format: str, input: str | None = None, opset: int = 18, quantize: str | None = None,
    trust: bool = False,
):  # fmt: skip
    """Write a run's model in another format, and prove in a new process that it predicts the same.

    python -m src.export run=t7 format=onnx
    python -m src.export run=t7 format=onnx quantize=int8

    run : the run, t7
    format : onnx; of nets torch_export or torchscript; of estimators skops, or joblib, which is a pickle:
        whoever loads it runs whatever it holds; pyfunc, a folder for mlflow.pyfunc.load_model
    input : a file of rows to prove it with; left out: the run's test rows
    opset : of onnx, the version of its operators
    quantize : int8 writes a smaller onnx file beside the first; its loss and speed are measured
    trust : use its model and data though they were not made here, or were changed since
    """
    opened = Run.open(run, trust)
    if format == "pyfunc" and not quantize:
        from src.share.pyfolder import export

        report = export(opened, input)
    else:
        from src.format.export import export  # NumPy and the model's library

        report = export(opened, format, input, opset, quantize)
    for found in filter(None, (report, report.get(quantize))):
        speed = ", ".join(f"{ms:.3f} at batch {size}" for size, ms in found["ms_per_row"].items())
        shell.show(f"{opened.folder}/exports/{format}/{found['file']}")
        shell.show(f"  differs by {found['difference']:.1e} on {report['rows']} rows; ms a row: {speed}")
    return report


if __name__ == "__main__":
    shell.call(export)
