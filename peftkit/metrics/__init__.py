"""The METRICS table: a new metric is one function in a file and one line here."""

from __future__ import annotations

from peftkit.contracts import Direction, Metric
from peftkit.errors import UserError, unknown
from peftkit.metrics.chinese_answers import cmrc_exact_match, cmrc_f1
from peftkit.metrics.classification import (
    accuracy,
    label_ranking_average_precision,
    macro_f1,
    matthews_correlation,
    micro_f1,
    weighted_f1,
)
from peftkit.metrics.evaluated import PREFIX, load, through_evaluate
from peftkit.metrics.extraction import exact_match, invalid_share
from peftkit.metrics.language_modeling import bits_per_byte, byte_perplexity, perplexity
from peftkit.metrics.multiple_choice import normalized_accuracy, summed_accuracy
from peftkit.metrics.overlap import bleu, chrf, rouge1, rouge2, rouge_l
from peftkit.metrics.question_answering import (
    squad_exact_match,
    squad_f1,
    squad_has_answer_f1,
    squad_no_answer_accuracy,
)
from peftkit.metrics.regression import mean_absolute_error, mean_squared_error, pearson, spearman
from peftkit.metrics.token_classification import entity_f1, entity_precision, entity_recall, token_accuracy

_ANY = ("label", "labels")

METRICS: dict[str, Metric] = {
    # one label a row, or several
    "accuracy": Metric(accuracy, "higher", "share of rows whose class, or set of classes, is right", _ANY),
    "macro_f1": Metric(macro_f1, "higher", "unweighted mean of the classes' F1 (scikit-learn, zero_division=0)", _ANY),
    "weighted_f1": Metric(weighted_f1, "higher", "mean of the classes' F1 by their rows (scikit-learn)", _ANY),
    "matthews_correlation": Metric(matthews_correlation, "higher", "multi-class Matthews coefficient (scikit-learn)"),
    "micro_f1": Metric(micro_f1, "higher", "F1 of all pairs of row and class (scikit-learn)", ("labels",)),
    "label_ranking_average_precision": Metric(
        label_ranking_average_precision, "higher", "how far up the right labels rank (scikit-learn)", ("scores",)
    ),
    # labels read out of generated text
    "invalid_share": Metric(invalid_share, "lower", "share of generated texts that name no label", ("valid",)),
    # multiple choice
    "summed_accuracy": Metric(
        summed_accuracy, "higher", "accuracy of the likeliest choice (lm-evaluation-harness, acc)", ("summed_label",)
    ),
    "normalized_accuracy": Metric(
        normalized_accuracy,
        "higher",
        "accuracy of the choice likeliest for its UTF-8 bytes (lm-evaluation-harness, acc_norm, counts characters)",
        ("normalized_label",),
    ),
    # regression
    "pearson": Metric(pearson, "higher", "Pearson's correlation (scipy); nan for a constant", ("value",)),
    "spearman": Metric(spearman, "higher", "Spearman's rank correlation (scipy); nan for a constant", ("value",)),
    "mean_squared_error": Metric(mean_squared_error, "lower", "mean of the squared differences", ("value",)),
    "mean_absolute_error": Metric(mean_absolute_error, "lower", "mean of the absolute differences", ("value",)),
    # token classification
    "entity_f1": Metric(entity_f1, "higher", "F1 of whole entities (seqeval, micro, strict, IOB2/IOBES)", ("tags",)),
    "entity_precision": Metric(entity_precision, "higher", "share of predicted entities (seqeval, strict)", ("tags",)),
    "entity_recall": Metric(entity_recall, "higher", "share of entities that are found (seqeval, strict)", ("tags",)),
    "token_accuracy": Metric(token_accuracy, "higher", "share of tokens whose tag is right, O too; no F1", ("tags",)),
    # question answering
    "squad_exact_match": Metric(squad_exact_match, "higher", "share of right answers (SQuAD 2.0, exact)", ("answer",)),
    "squad_f1": Metric(squad_f1, "higher", "mean F1 over words (SQuAD 2.0, f1)", ("answer",)),
    "squad_has_answer_f1": Metric(
        squad_has_answer_f1, "higher", "squad_f1 of questions with an answer (SQuAD 2.0, HasAns_f1)", ("answer",)
    ),
    "squad_no_answer_accuracy": Metric(
        squad_no_answer_accuracy, "higher", "right among questions without an answer (SQuAD 2.0, NoAns)", ("answer",)
    ),
    "cmrc_exact_match": Metric(cmrc_exact_match, "higher", "share of right answers (CMRC 2018, EM)", ("answer",)),
    "cmrc_f1": Metric(cmrc_f1, "higher", "mean F1 of the longest common run (CMRC 2018, F1)", ("answer",)),
    # text generation
    "exact_match": Metric(exact_match, "higher", "share of rows whose extracted answer is right", ("extracted",)),
    "bleu": Metric(bleu, "higher", "corpus BLEU, 0 to 100 (sacrebleu; 13a, or zh for Chinese)", ("text",)),
    "chrf": Metric(chrf, "higher", "corpus chrF2, 0 to 100 (sacrebleu)", ("text",)),
    "rouge1": Metric(rouge1, "higher", "mean F-measure of shared words, best reference (rouge-score)", ("text",)),
    "rouge2": Metric(rouge2, "higher", "mean F-measure of shared word pairs, best reference (rouge-score)", ("text",)),
    "rougeL": Metric(rouge_l, "higher", "mean F-measure of the longest common subsequence (rouge-score)", ("text",)),
    # language modeling
    "perplexity": Metric(perplexity, "lower", "exp of the mean loss per token", ("log_likelihood",)),
    "byte_perplexity": Metric(byte_perplexity, "lower", "exp of the mean loss per UTF-8 byte", ("log_likelihood",)),
    "bits_per_byte": Metric(bits_per_byte, "lower", "mean loss per UTF-8 byte, in bits", ("log_likelihood",)),
}


def known(name: str) -> bool:
    """Whether `name` can be a metric, asked without loading anything: one of METRICS, or ``evaluate:`` and a module."""
    return name in METRICS or (name.startswith(PREFIX) and name.removeprefix(PREFIX).partition("#")[0] != "")


def metric(name: str) -> Metric:
    """The metric of that name: one of METRICS, or ``evaluate:MODULE`` or ``evaluate:MODULE#KEY``.

    See `peftkit.metrics.evaluated`. Loads nothing; raises UserError for an unknown name.
    """
    if not known(name):
        raise UserError(unknown("metric", name, METRICS))
    return METRICS[name] if name in METRICS else through_evaluate(name)


def prepare(name: str) -> None:
    """Loads what the metric needs from outside, so that a missing module is told before a training, not after it."""
    if metric(name) is not METRICS.get(name):
        load(name)


def direction(name: str) -> Direction:
    """Which end of a score is better; what goes through the evaluate library counts as better when higher."""
    if name == "loss":
        return "lower"
    return METRICS[name].direction if name in METRICS else "higher"
