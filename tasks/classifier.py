"""Stage classifier: trains the judge of classes on the balanced images; its features are the space of FID, KID, precision and recall."""

from levy_core.datasets.store import read_group
from levy_core.metrics.classifier import ClassifierConfig, classify, save_classifier, split, train_classifier
from tasks import paths, stage
from tasks.params import Params


def classifier(params: Params, dataset: str) -> None:
    """Trains on four fifths, measures on the rest, writes weights and held-out accuracy."""
    stage.reproducible(params.compute.threads)
    images = read_group(paths.prepared(dataset) / "images.zarr", "balanced")
    config = ClassifierConfig(**params.classifier.model_dump())
    train, held_out = split(images.label, config.seed)
    steps = train_classifier(
        images.image[train], images.label[train], len(images.classes), config, stage.device(params.compute.device)
    )
    with stage.bar(steps, "classifier", total=config.steps, unit="step") as progress:
        for _, loss, trained in progress:
            net = trained
            progress.set_postfix(loss=f"{loss:.3f}", refresh=False)
    accuracy = float((classify(net, images.image[held_out]) == images.label[held_out]).mean())
    with stage.replacing_folder(paths.classifier(dataset)) as folder:
        save_classifier(folder, net, {"held_out_accuracy": accuracy, "held_out_images": len(held_out)})
    print(f"{dataset}: the classifier is right on {accuracy:.1%} of {len(held_out)} held-out images")


if __name__ == "__main__":
    stage.main(classifier, "dataset")
