"""Models of `transformers` as factories, `width -> torch.nn.Module`, for jobs of `family: module` (examples/llama.yaml).

Only the width changes: depth, head size, vocabulary and context stay. A vocabulary of 256 is that of bytes.
"""

from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

VOCABULARY, CONTEXT, DEPTH, HEAD = 256, 128, 2, 16


def llama(width: int) -> nn.Module:
    """Llama with grouped-query attention, an untied head, and as many heads as fit."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=DEPTH,
            num_attention_heads=width // HEAD,
            num_key_value_heads=max(1, width // (2 * HEAD)),
            head_dim=HEAD,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=False,
            use_cache=False,
        )
    )


def gpt2(width: int) -> nn.Module:
    """GPT-2: query, key and value in one matrix kept as (fan_in, fan_out), learned positions, a tied head, dropout."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=width,
            n_layer=DEPTH,
            n_head=width // HEAD,
            n_positions=CONTEXT,
            use_cache=False,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
