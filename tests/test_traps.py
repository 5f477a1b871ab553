"""The traps of fine-tuning that cost people days, each with what guards against it here and the tests that fail
without that guard. This file holds the table; the tests stand where their rooms' tests are."""

import ast
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# Number and trap; the guard; the tests.
TRAPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "1 padding is eos, and masking by id never trains eos": (
        "data and collators go by lengths, never by the pad token",
        (
            "workers/test_train_loss.py::test_batches_are_padded_by_length_though_pad_is_eos",
            "data/test_render.py::test_nothing_is_padded_or_recognised_by_the_pad_token",
        ),
    ),
    "2 no eos in the text": (
        "the renderer adds the end mark that a template leaves out, and counts rows that end without one",
        (
            "data/test_render.py::test_an_answer_without_an_end_mark_gets_the_eos_token",
            "data/test_prepare.py::test_problems_that_would_be_silent",
        ),
    ),
    "3 the end of a turn outside the generation marks": (
        "it is trained all the same",
        ("data/test_render.py::test_an_end_mark_outside_the_marks_is_trained_all_the_same",),
    ),
    "4 another template in use than in training": (
        "a checkpoint carries the template and the stop ids",
        ("workers/test_train_worker.py::test_a_checkpoint_carries_tokenizer_template_stops_and_recipe",),
    ),
    "5 two bos": (
        "rendered text is never given special tokens again, and a template that writes two is told",
        (
            "data/test_render.py::test_plain_text_begins_with_bos_where_the_tokenizer_says_so_and_never_twice",
            "data/test_prepare.py::test_problems_that_would_be_silent",
        ),
    ),
    "6 the prompt's tokens are not the first of the whole": (
        "the whole text is encoded once, and the mask is read off its characters",
        ("data/test_render.py::test_the_ids_are_those_of_the_whole_text_and_the_answers_are_trained",),
    ),
    "7 padding on the wrong side": (
        "sampled sequences and scored ones go by their own lengths",
        (
            "workers/test_ppo_math.py::test_padding_never_counts",
            "workers/test_stages.py::test_a_reward_model_is_saved_with_its_head_and_scores_the_same",
        ),
    ),
    "8 the cut takes the whole answer": (
        "such rows are left out and counted, before the launch too, and where none is left it is an error",
        (
            "resolve/test_check_rows.py::test_where_nothing_is_left_no_run_is_made",
            "data/test_prepare.py::test_rows_are_left_out_with_a_reason_and_counted",
            "data/test_prepare.py::test_no_trained_token_is_an_error_with_the_count_and_the_first_row",
            "workers/test_train_faults.py::test_a_loss_that_is_no_number_ends_the_run_before_it_is_saved",
        ),
    ),
    "9 long pairs are dropped in silence": (
        "every row that is left out has a reason and is counted, with what would have been trained, before the launch",
        (
            "data/test_prepare.py::test_rows_are_left_out_with_a_reason_and_counted",
            "data/test_outlook.py::test_few_rows_are_all_read_and_it_is_what_preparing_says",
            "resolve/test_check_rows.py::test_what_length_costs_is_a_warning_with_the_length_that_would_do",
        ),
    ),
    "10 a reward is read off the wrong token": (
        "the last token of the text is known by its place",
        (
            "workers/test_stages.py::test_a_reward_model_is_saved_with_its_head_and_scores_the_same",
            "workers/test_ppo_models.py::test_an_adapter_scores_as_the_whole_reward_model_does",
        ),
    ),
    "11 the head of a reward model is not saved or not loaded": (
        "it is in each checkpoint, compared with the one in memory, and asked for before launch",
        (
            "workers/test_stages.py::test_a_reward_model_is_saved_with_its_head_and_scores_the_same",
            "resolve/test_stage_checks.py::test_a_reward_model_needs_its_head",
        ),
    ),
    "12 an adapter on a tied output layer": (
        "refused before launch",
        ("resolve/test_checks.py::test_what_cannot_be_trained_here_is_refused",),
    ),
    "13 layers trained whole on tied weights": (
        "saved and loaded they compute the same",
        ("workers/test_methods.py::test_layers_trained_whole_come_back_as_they_were",),
    ),
    "14 new tokens that nothing trains": (
        "they are learned and saved, or refused",
        (
            "workers/test_added_tokens.py::test_they_are_learned_saved_and_loaded",
            "workers/test_added_tokens.py::test_they_are_chosen_for_a_named_template_and_refused_where_nothing_would_"
            "learn_them",
        ),
    ),
    "15 merging into a base in 4 bits": (
        "the whole base is what is merged into, and how far that is from the one in 4 bits is told",
        (
            "export/test_merging.py::test_weights_are_added_up_in_float32_and_rounded_once",
            "export/test_merging.py::test_what_cannot_be_merged_is_said_before_there_is_a_run",
        ),
    ),
    "16 merging in 16 bits": (
        "added up in float32, rounded once, and not kept where it computes something else",
        (
            "export/test_merging.py::test_weights_are_added_up_in_float32_and_rounded_once",
            "export/test_merging.py::test_what_does_not_compute_what_was_trained_is_not_kept",
        ),
    ),
    "17 the reference is the base and not what SFT made": (
        "it is what training begins from, and another one is warned of",
        (
            "workers/test_stages.py::test_the_distance_to_the_reference_is_nothing_at_the_first_step",
            "workers/test_stage_references.py::test_references_methods_and_reward_models",
            "resolve/test_stage_checks.py::test_a_reference_that_is_not_the_beginning_is_said",
            "workers/test_ppo_models.py::test_at_first_the_policy_is_the_reference_exactly",
        ),
    ),
    "18 accumulated batches are averaged, not their tokens": (
        "each trained token of a step counts the same",
        ("workers/test_methods.py::test_what_must_not_change_the_losses",),
    ),
    "19 the loss measured depends on the batch size": (
        "sums over tokens",
        (
            "evaluate/test_metrics.py::test_losses_are_weighted_by_tokens_and_perplexity_is_their_exponential",
            "workers/test_methods.py::test_what_is_measured_does_not_depend_on_the_batch",
        ),
    ),
    "20 checkpointing cuts an adapter's gradients off": (
        "inputs that need gradients; the losses are those without it",
        ("workers/test_methods.py::test_what_must_not_change_the_losses",),
    ),
    "21 weights trained in 16 bits": (
        "a float32 copy is trained, and another choice is warned of",
        (
            "resolve/test_resolve.py::test_a_gpu_computes_in_the_format_it_has_units_for",
            "resolve/test_checks.py::test_trained_weights_in_16_bits_are_warned_of",
        ),
    ),
    "22 the magnitude of DoRA never moves": (
        "what is trained is in float32",
        ("workers/test_methods.py::test_each_method_trains_what_it_says",),
    ),
    "23 packed examples see each other": (
        "positions begin anew with each, and no mask or cache is passed",
        ("workers/test_train_loss.py::test_rows_without_padding_keep_their_examples_apart",),
    ),
    "24 a learned prefix with checkpointing": (
        "chosen off, refused where stated",
        (
            "resolve/test_resolve.py::test_a_learned_prefix_goes_without_checkpointing",
            "recipe/test_recipe_reading.py::test_contradictions_name_the_key_and_its_line",
        ),
    ),
    "25 resuming puts a second adapter on, or begins the schedule again": (
        "the losses of a resumed run are those of one that never ended",
        (
            "workers/test_train_worker.py::test_stop_is_answered_and_resuming_goes_on_exactly",
            "workers/test_methods.py::test_an_adapter_goes_on_as_itself",
        ),
    ),
    "26 switching adapters freezes and thaws": (
        "a step of PPO changes policy and value alone",
        ("workers/test_ppo_models.py::test_a_step_changes_policy_and_value_alone",),
    ),
    "27 vLLM takes ranks up to 16, and no DoRA": (
        "the rank is stated in its command, and what it would leave out is refused with the remedy",
        (
            "export/test_serving.py::test_a_rank_above_its_default_is_stated",
            "export/test_serving.py::test_what_it_would_leave_out_is_said",
        ),
    ),
    "28 a tokenizer that was saved anew is not recognised": (
        "its own files are copied, into checkpoints and into merged models",
        (
            "export/test_merging.py::test_a_merged_model_is_known_as_before",
            "workers/test_train_worker.py::test_a_checkpoint_carries_tokenizer_template_stops_and_recipe",
        ),
    ),
    "29 KTO with one answer at a time": (
        "refused before launch",
        ("resolve/test_stage_checks.py::test_what_does_not_go_together",),
    ),
    "30 a learning rate of full training for an adapter": (
        "rates go by stage and method",
        ("resolve/test_resolve.py::test_rates_follow_method_and_stage",),
    ),
    "31 bfloat16 on a CPU without units for it": (
        "computed in float32, and another choice is warned of",
        (
            "resolve/test_resolve.py::test_a_cpu_without_units_for_bfloat16_computes_in_float32",
            "resolve/test_checks.py::test_slow_and_idle_keys_are_said_but_not_refused",
        ),
    ),
    "32 PPO samples from less than its whole distribution": (
        "top-k and top-p are no keys, and a model's own are not used",
        ("workers/test_trap_guards.py::test_answers_are_sampled_from_the_whole_distribution",),
    ),
    "33 ROUGE of 0 for scripts other than Latin": (
        "words are found as each script needs",
        ("evaluate/test_metrics.py::test_rouge_sees_other_scripts",),
    ),
}


def test_no_trap_is_left_out() -> None:
    assert sorted(int(name.split()[0]) for name in TRAPS) == list(range(1, 34))


@pytest.mark.parametrize("trap", TRAPS)
def test_each_trap_has_its_tests(trap: str) -> None:
    guard, tests = TRAPS[trap]
    assert guard
    for name in tests:
        file, _, wanted = name.partition("::")
        tree = ast.parse((HERE / file).read_text("utf-8"))
        there = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert wanted in there, name
