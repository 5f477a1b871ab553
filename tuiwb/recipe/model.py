"""The typed recipe: every key, its type and what it means.

Where transformers' `TrainingArguments`, TRL's configs and `ModelConfig`, or PEFT has a name for a thing, the key has
that name, meaning and unit (transformers 5, TRL 1.16). None means that the recipe leaves the key out; `resolve` fills
it. The docstring under a field is its help on screen and in the JSON schema.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]
CountOrZero = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, lt=1)]
UpToOne = Annotated[float, Meta(gt=0, le=1)]

Stage = Literal["pretrain", "sft", "reward", "dpo", "orpo", "kto", "ppo", "grpo", "rloo"]
Method = Literal["full", "freeze", "lora", "qlora", "dora", "ia3", "prefix", "prompt"]
Role = Literal["system", "user", "assistant", "tool"]
Format = Literal[
    "auto", "alpaca", "sharegpt", "messages", "prompt_completion", "preference", "hh_rlhf", "kto", "stepwise", "qa",
    "prompt_only", "text", "tokenized",
]  # fmt: skip
Optimizer = Literal[
    "adamw_torch", "adamw_torch_fused", "adamw_torch_xla", "adamw_torch_npu_fused", "adafactor", "adamw_anyprecision",
    "adamw_torch_4bit", "adamw_torch_8bit", "ademamix", "sgd", "adagrad", "adamw_bnb_8bit", "adamw_8bit",
    "ademamix_8bit", "lion_8bit", "lion_32bit", "paged_adamw_32bit", "paged_adamw_8bit", "paged_ademamix_32bit",
    "paged_ademamix_8bit", "paged_lion_32bit", "paged_lion_8bit", "rmsprop", "rmsprop_bnb", "rmsprop_bnb_8bit",
    "rmsprop_bnb_32bit", "galore_adamw", "galore_adamw_8bit", "galore_adafactor", "galore_adamw_layerwise",
    "galore_adamw_8bit_layerwise", "galore_adafactor_layerwise", "lomo", "adalomo", "grokadamw", "schedule_free_radam",
    "schedule_free_adamw", "schedule_free_sgd", "apollo_adamw", "apollo_adamw_layerwise", "stable_adamw",
]  # fmt: skip
Scheduler = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt",
    "reduce_lr_on_plateau", "cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay", "greedy",
]  # fmt: skip


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A map of the recipe file. `omit_defaults` keeps what is left out out of every encoding."""


class DatasetEntry(Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One source of examples; several are mixed by weight."""

    path: str
    """A file, a folder or a dataset id on the hub; a relative file is looked for beside the recipe."""
    subset: str | None = None
    """Configuration of a hub dataset that has several."""
    split: str | None = None
    """Split to read, such as train or train[:5%]."""
    revision: str | None = None
    """Branch, tag or commit of a hub dataset."""
    format: Format | None = None
    """What the rows are; auto detects it and says how sure it is."""
    columns: dict[str, str] | None = None
    """Which column plays which part: a name of the format = the name in the file."""
    steps: tuple[str | dict[str, Any], ...] | None = None
    """Cleaning steps in order, each a name or a name with its settings."""
    journal: str | None = None
    """File with the edits and deletions made to rows by hand; the source itself stays as it is."""
    weight: Positive | None = None
    """Share of this source in the mixture, relative to the others; left out, each row counts once."""
    max_examples: Count | None = None
    """Take at most so many examples."""


class Launch(Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How many processes on which devices, and how the model is spread over them."""

    nodes: Count | None = None
    """Machines that take part."""
    processes: Count | None = None
    """Training processes on each machine, usually one a GPU."""
    gpus: Literal["auto"] | tuple[CountOrZero, ...] | None = None
    """auto, or the numbers of the GPUs to use; an empty list trains on the CPU."""
    sharding: Literal["none", "ddp", "fsdp", "zero1", "zero2", "zero3"] | None = None
    """What GPUs split: nothing (ddp copies), the optimizer (zero1), gradients too (zero2), all of it (zero3, fsdp)."""
    offload: Literal["none", "optimizer", "all"] | None = None
    """What waits in host memory: nothing, the optimizer, or the parameters as well."""
    tensor_parallel: Count | None = None
    """GPUs that share each matrix."""
    pipeline_parallel: Count | None = None
    """GPUs that hold different layers."""
    context_parallel: Count | None = None
    """GPUs that share one long sequence."""
    expert_parallel: Count | None = None
    """GPUs that share the experts of a mixture-of-experts model."""


class Recipe(Part, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to run. Every field may be left out."""

    # About
    name: str | None = None
    """Name of the run, for people; part of its id."""
    tags: tuple[str, ...] | None = None
    """Words to find the run by."""
    notes: str | None = None
    """What this recipe is for."""

    # Task
    stage: Stage | None = None
    """What kind of training: sft learns from examples, reward and dpo from comparisons, ppo and grpo from scores."""
    method: Method | None = None
    """What is trained: all weights (full), some layers (freeze), or a small adapter (lora, qlora, dora, …)."""
    stages: "tuple[Recipe, ...] | None" = None
    """Recipes that run one after the other as the parts of one run."""

    # Model
    model_name_or_path: str | None = None
    """The base model: a folder, a .gguf file, a name under your models, or an id on the hub."""
    model_revision: str | None = None
    """Branch, tag or commit of a hub model."""
    trust_remote_code: bool | None = None
    """Run Python code that comes with the model. Only for code that you have read."""
    adapter_name_or_path: str | None = None
    """An adapter to go on training, instead of a new one."""
    ref_model_name_or_path: str | None = None
    """Reference model of dpo, kto and ppo; left out, the model as it was before this training."""
    reward_model_name_or_path: str | None = None
    """Reward model or adapter that scores answers in ppo, grpo and rloo."""
    reward_funcs: tuple[str, ...] | None = None
    """What scores sampled answers: length:200, regex:PATTERN, exact:COLUMN, judge:ENDPOINT, or my.py:function."""
    chat_template: str | None = None
    """A name (chatml, llama-3, alpaca, vicuna …) or a Jinja file; left out, the model's own. Base models need one."""
    eos_token: str | None = None
    """Token that ends an answer; left out, the tokenizer's."""
    added_tokens: tuple[str, ...] | None = None
    """Tokens that the tokenizer gets and the model learns; left out, those of a named chat_template that it lacks."""

    # Data
    datasets: tuple[DatasetEntry, ...] | None = None
    """What to learn from, one source or several."""
    eval_datasets: tuple[DatasetEntry, ...] | None = None
    """What to measure on."""
    eval_fraction: Share | None = None
    """Share of the training examples that is held out to measure on, drawn by the seed."""
    max_length: Count | None = None
    """Longest example; what is longer is cut at its end."""
    packing: bool | None = None
    """Put several examples into one row. Only faster, and only right, where the attention keeps them apart."""
    packing_strategy: Literal["bfd", "bfd_split", "wrapped"] | None = None
    """How rows are filled: best fit and cut the rest (bfd), split it (bfd_split), or cut anywhere (wrapped)."""
    padding_free: bool | None = None
    """Flatten each batch into one row without padding; needs flash attention."""
    train_roles: tuple[Role, ...] | None = None
    """Whose turns are learned; the others are read but carry no loss."""
    train_on_eos: Literal["turn", "last", "all", "none"] | None = None
    """Which end marks are learned: of each trained turn, of the last one, of all turns, or none."""
    response_marker: str | None = None
    """Rows of plain text: only what follows the last of these is learned, such as ### Response:."""

    # Batch
    per_device_train_batch_size: Count | None = None
    """Examples that each device computes at once."""
    gradient_accumulation_steps: Count | None = None
    """Batches that are summed before the weights change."""
    per_device_eval_batch_size: Count | None = None
    """Examples that each device measures at once."""
    train_sampling_strategy: Literal["random", "sequential", "group_by_length", "batch_rebalance"] | None = None
    """Order of the examples; group_by_length puts similar lengths together, which saves padding."""

    # Schedule
    learning_rate: Positive | None = None
    """Step size at its highest. 2e-4 suits LoRA, 2e-5 or less all weights."""
    lr_scheduler_type: Scheduler | None = None
    """How the learning rate falls after the warmup."""
    lr_scheduler_kwargs: dict[str, Any] | None = None
    """Further settings of the scheduler, such as num_cycles."""
    warmup_steps: NotNegative | None = None
    """Steps until the learning rate is at its highest; a number below 1 is a share of all steps."""
    num_train_epochs: Positive | None = None
    """Times that each example is seen; may be a fraction."""
    max_steps: Annotated[int, Meta(ge=-1)] | None = None
    """Stop after so many optimizer steps, whatever num_train_epochs says; -1 means no limit."""

    # Optimizer
    optim: Optimizer | None = None
    """Optimizer, in transformers' names."""
    optim_args: str | None = None
    """Further settings of the optimizer, as name=value, comma-separated."""
    weight_decay: NotNegative | None = None
    """How strongly weights are drawn to zero at each step."""
    adam_beta1: Share | None = None
    """Memory of Adam's mean."""
    adam_beta2: Share | None = None
    """Memory of Adam's variance."""
    adam_epsilon: Positive | None = None
    """Keeps Adam's division from exploding."""
    max_grad_norm: NotNegative | None = None
    """Longer gradients are shortened to this norm; 0 switches that off."""
    neftune_noise_alpha: Positive | None = None
    """Strength of the noise that NEFTune adds to the embeddings in training."""
    seed: CountOrZero | None = None
    """Start of every random choice; the same seed gives the same run."""
    data_seed: CountOrZero | None = None
    """As seed, for the order of the examples alone."""

    # Adapter
    lora_r: Count | None = None
    """Rank of the LoRA matrices: more learns more and costs more."""
    lora_alpha: Count | None = None
    """Strength of the adapter: its output is scaled by lora_alpha / lora_r."""
    lora_dropout: Share | None = None
    """Share of the adapter's inputs that is dropped at random in training."""
    lora_target_modules: str | tuple[str, ...] | None = None
    """Layers that get an adapter: all-linear, or names such as q_proj and v_proj."""
    lora_target_parameters: str | tuple[str, ...] | None = None
    """Parameters, not layers, that get an adapter, such as the experts of a mixture."""
    lora_modules_to_save: tuple[str, ...] | None = None
    """Layers that are trained whole and saved with the adapter."""
    use_rslora: bool | None = None
    """Scale by lora_alpha / sqrt(lora_r), which suits high ranks."""
    use_dora: bool | None = None
    """Learn direction and magnitude apart (DoRA); method dora says the same."""
    loraplus_lr_ratio: Positive | None = None
    """LoRA+: how many times as fast the adapter's outer matrices learn as its inner ones; 16 is usual."""
    freeze_layers: CountOrZero | None = None
    """Method freeze: the first so many layers, and the embeddings, stay as they are."""
    num_virtual_tokens: Count | None = None
    """Methods prefix and prompt: learned positions before each example."""
    prefix_projection: bool | None = None
    """Method prefix: compute the prefix by a small network."""
    prompt_tuning_init_text: str | None = None
    """Method prompt: text that the learned positions start from."""

    # Precision and memory
    dtype: Literal["auto", "bfloat16", "float16", "float32"] | None = None
    """Number format that the base model is loaded in."""
    bf16: bool | None = None
    """Compute in bfloat16; slow on hardware without units for it."""
    fp16: bool | None = None
    """Compute in float16 with loss scaling, for GPUs without bfloat16."""
    tf32: bool | None = None
    """Let float32 matrix products round to TF32 on the GPUs that have it."""
    load_in_4bit: bool | None = None
    """Keep the base model in 4 bits (QLoRA)."""
    load_in_8bit: bool | None = None
    """Keep the base model in 8 bits."""
    bnb_4bit_quant_type: Literal["nf4", "fp4"] | None = None
    """The 4-bit number format; nf4 suits trained weights."""
    use_bnb_nested_quant: bool | None = None
    """Quantize the quantization constants too: saves about 0.37 bit a parameter."""
    bnb_4bit_quant_storage: Literal["uint8", "float16", "bfloat16", "float32"] | None = None
    """Type that the packed 4-bit weights are stored in; FSDP wants that of the other weights."""
    gradient_checkpointing: bool | None = None
    """Compute activations again in the backward pass: a third slower, far less memory."""
    activation_offloading: bool | None = None
    """Keep activations in host memory until the backward pass."""
    attn_implementation: str | None = None
    """Attention kernel: eager, sdpa, flash_attention_2, flash_attention_3, or one of the kernels hub."""
    use_liger_kernel: bool | None = None
    """Use the fused kernels of the liger-kernel package."""
    torch_compile: bool | None = None
    """Compile the model: slow at the start, faster after, where shapes repeat."""

    # Preference and reward
    beta: NotNegative | None = None
    """How close dpo, orpo, kto, ppo, grpo and rloo keep to the reference; higher is closer."""
    loss_type: str | tuple[str, ...] | None = None
    """Loss of the stage, in TRL's names, such as nll, sigmoid, ipo or dapo."""
    loss_weights: tuple[NotNegative, ...] | None = None
    """Stage dpo with several losses: how much each counts."""
    label_smoothing: Share | None = None
    """Stage dpo: share of the pairs that are taken to be the wrong way round; losses robust and exo_pair use it."""
    desirable_weight: Positive | None = None
    """Stage kto: how much good answers count; raise it where they are the fewer."""
    undesirable_weight: Positive | None = None
    """Stage kto: how much bad answers count."""
    reward_weights: tuple[float, ...] | None = None
    """How much each of reward_funcs counts, in their order, and the reward model last; left out, all the same."""
    temperature: Positive | None = None
    """How freely ppo, grpo and rloo sample: 1 is the model's own distribution."""
    num_generations: Count | None = None
    """Answers that grpo and rloo sample for each prompt."""
    max_completion_length: Count | None = None
    """Longest answer that ppo, grpo and rloo sample."""

    # Proximal policy optimization
    num_ppo_epochs: Count | None = None
    """Stage ppo: times that each batch of answers is learned from."""
    num_mini_batches: Count | None = None
    """Stage ppo: steps of the optimizer in each of these times; a batch of answers has so many times the examples of
    one step."""
    local_rollout_forward_batch_size: Count | None = None
    """Stage ppo: answers that are sampled at once; left out, all of a batch."""
    kl_estimator: Literal["k1", "k3"] | None = None
    """Stage ppo: how the distance to the reference is told: k1 is unbiased, k3 never negative."""
    kl_target: Positive | None = None
    """Stage ppo: the distance to the reference, summed over an answer, that kl_control keeps to; left out, beta is
    fixed."""
    kl_control: Literal["limit", "target"] | None = None
    """Stage ppo: limit keeps the distance under kl_target (beta rises fast, an update's steps end early, a policy that
    went further is moved back); target lets beta rise and fall slowly about it."""
    kl_horizon: Positive | None = None
    """Stage ppo, with kl_control target: answers over which beta changes; fewer change it faster."""
    gamma: UpToOne | None = None
    """Stage ppo: how much a reward counts one token earlier."""
    lam: UpToOne | None = None
    """Stage ppo: 1 trusts the rewards that came, less trusts what the value model foresees."""
    cliprange: Positive | None = None
    """Stage ppo: the most by which a token's probability is worth changing in one batch, as a share."""
    cliprange_value: Positive | None = None
    """Stage ppo: the most by which the value of a state is worth changing in one batch."""
    critic_learning_rate: Positive | None = None
    """Stage ppo: learning rate of the value model; it follows the schedule of the policy's."""
    vf_coef: Positive | None = None
    """Stage ppo: how much the loss of the value model counts."""
    whiten_rewards: bool | None = None
    """Stage ppo: divide the rewards of each batch by their deviation."""
    missing_eos_penalty: NotNegative | None = None
    """Stage ppo: taken from the score of an answer that does not come to its end."""
    score_placement: Literal["eos", "after_eos"] | None = None
    """Stage ppo: the score falls on the token that ends the answer, or, as in TRL 1.12, on the place after it."""

    # Measuring and saving
    logging_steps: Positive | None = None
    """Write the metrics every so many steps; below 1 a share of all steps."""
    eval_strategy: Literal["no", "steps", "epoch"] | None = None
    """When to measure on the evaluation examples."""
    eval_steps: Positive | None = None
    """With eval_strategy steps: how often; below 1 a share of all steps."""
    eval_on_start: bool | None = None
    """Measure before the first step as well."""
    save_strategy: Literal["no", "steps", "epoch", "best"] | None = None
    """When to write a checkpoint."""
    save_steps: Positive | None = None
    """With save_strategy steps: how often; below 1 a share of all steps."""
    save_total_limit: Count | None = None
    """Keep at most so many checkpoints; the oldest go first."""
    save_only_model: bool | None = None
    """Leave out optimizer and random state: smaller, but the run cannot be resumed from it."""
    load_best_model_at_end: bool | None = None
    """Finish with the best checkpoint instead of the last."""
    metric_for_best_model: str | None = None
    """What best means, such as eval_loss."""
    greater_is_better: bool | None = None
    """Whether that metric should rise."""
    early_stopping_patience: Count | None = None
    """End when so many evaluations in a row brought nothing better; needs load_best_model_at_end."""
    report_to: str | tuple[str, ...] | None = None
    """Where metrics go besides the run directory: none, tensorboard, wandb …"""
    sample_prompts: tuple[str, ...] | None = None
    """Prompts that the model answers at each evaluation, to read how it changes."""

    # Devices
    launch: Launch | None = None
    """How many processes on which devices."""
    use_cpu: bool | None = None
    """Train on the CPU even if there is a GPU."""
    dataloader_num_workers: CountOrZero | None = None
    """Processes that load examples; 0 loads them in the trainer."""
    dataloader_pin_memory: bool | None = None
    """Load into page-locked memory, from which a GPU copies faster."""
