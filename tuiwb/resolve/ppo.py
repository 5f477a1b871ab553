"""What stage ppo adds to a recipe: the values of the last PPO trainer that TRL had, and of Huang et al. 2024 ("The N+
implementation details of RLHF with PPO") where those differ for a reason."""

from tuiwb.resolve.choices import Choices

PPO_KEYS = (
    "num_ppo_epochs", "num_mini_batches", "local_rollout_forward_batch_size", "kl_estimator", "kl_target",
    "kl_control", "kl_horizon", "gamma", "lam", "cliprange", "cliprange_value", "critic_learning_rate", "vf_coef",
    "whiten_rewards", "missing_eos_penalty", "score_placement",
)  # fmt: skip
"""Keys that this stage alone reads."""

_TRL = "TRL's value, from the first PPO for language models"


def fill_order(choices: Choices) -> None:
    """The order of the prompts, and the learning rate's beginning."""
    choices.fill("train_sampling_strategy", "random", "answers of one batch are compared with each other")
    choices.fill("warmup_steps", 0.0, "a step is a whole batch of answers, too dear to be spent on a rate of zero")


def fill_ppo(choices: Choices) -> None:
    """Everything that this stage alone reads."""
    choices.fill("temperature", 1.0, "sampled as likely as the model has it, which finds more to learn from")
    choices.fill("num_ppo_epochs", 2, "half the time of TRL's 4, and a new batch tells more than an old one")
    choices.fill("num_mini_batches", 1, "one step on all answers at once")
    choices.fill("kl_estimator", "k1", "unbiased, and what beta is usually chosen for")
    if choices.now.kl_target is not None:
        if choices.now.kl_horizon is not None:
            choices.fill("kl_control", "target", "kl_horizon belongs to it, as TRL's adaptive controller had it")
        else:
            choices.fill("kl_control", "limit", "the distance stays under kl_target, however much the reward pays")
        if choices.now.kl_control == "target":
            choices.fill("kl_horizon", 10000.0, _TRL)
    choices.fill("gamma", 1.0, "an answer is judged as a whole, so no token counts less for being earlier")
    choices.fill("lam", 0.95, _TRL)
    choices.fill("cliprange", 0.2, _TRL)
    choices.fill("cliprange_value", 0.2, _TRL)
    choices.fill("critic_learning_rate", 1e-5, "a head that learns as fast as the policy foresees mostly noise")
    choices.fill("vf_coef", 0.1, _TRL)
    choices.fill("whiten_rewards", False, "the advantages are whitened anyway")
    choices.fill("missing_eos_penalty", 1.0, "otherwise the model learns to talk on")
    choices.fill("score_placement", "eos", "the token that ends the answer earns what the answer is worth")
