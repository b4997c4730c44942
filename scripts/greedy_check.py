#!/usr/bin/env python3
"""Does `cohort generate` answer chat prompts as transformers does?

    scripts/greedy_check.py FOLDER [--program build/cohort] [--count 64]

FOLDER is a model's folder with a tokenizer and a chat template. For 20 prompts of one user message each:

  prompt    ids of cohort tokenize, with the beginning of an answer, against apply_chat_template
  answer    up to COUNT tokens of cohort generate --temperature 0 against transformers' generate
  logprobs  of cohort's tokens, as cohort writes them, against log-softmax of transformers' logits     (at most 1e-3 apart)

transformers computes in fp32 with eager attention. A line for each difference, then a summary; exit code 1 when anything differs, 2 where a
package is missing. Needs torch, transformers and jinja2, and 4 bytes of memory for each weight:

    pip install torch transformers jinja2
"""
import argparse
import pathlib
import sys
import tempfile

try:
    import jinja2  # noqa: F401  (apply_chat_template needs it, and would say so only after the model is loaded)
    import torch
    import transformers
except ImportError as error:
    print(f"greedy_check: needs torch, transformers and jinja2: {error}", file=sys.stderr)
    sys.exit(2)

from cohort_rows import read_rows, run, write_rows  # noqa: E402

LOGPROB_LIMIT = 1e-3
QUESTIONS = [
    "What is the capital of France?", "Write a short poem about rain.", "What is 12 + 30?", "Name three colours.", "Who wrote Hamlet?",
    "Explain gravity to a child in two sentences.", "What is the largest ocean?", "Give me a recipe for pancakes.",
    "Translate 'good morning' into French.", "How many days are in a leap year?", "What does photosynthesis do?", "Tell me a joke about cats.",
    "List the planets of the solar system.", "What is 7 times 8?", "Why is the sky blue?", "Write a haiku about 2024.",
    "What is the opposite of hot?", "How do I boil an egg?", "Who was Albert Einstein?", "Is 17 a prime number?"]


def cohort_rows(program, folder, count):
    """What tokenize and generate write, a row for each question."""
    conversations = [[{"role": "user", "content": question}] for question in QUESTIONS]
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        write_rows(work / "tokenize.in", [{"messages": c, "add_generation_prompt": True} for c in conversations])
        run([program, "tokenize", "--model", folder, "--input", work / "tokenize.in", "--output", work / "tokenize.out"])
        write_rows(work / "generate.in", [{"messages": c} for c in conversations])
        run([program, "generate", "--model", folder, "--prompts", work / "generate.in", "--output", work / "generate.out", "--temperature", "0",
             "--max-new-tokens", count])
        return zip(conversations, read_rows(work / "tokenize.out"), read_rows(work / "generate.out"), strict=True)


def greedy(model, ids, count):
    """Some published generation_config.json have a repetition penalty, which generate() applies to greedy answers too."""
    prompt = torch.tensor([ids])
    with torch.no_grad():
        # Without a mask, generate() would leave out tokens that happen to be the padding token.
        whole = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=count, repetition_penalty=1.0)
    return whole[0, len(ids):].tolist()


def first_difference(a, b):
    """The length of the shorter one where the other goes on."""
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def compare(model, prompt, answer, tokens, count):
    """What differs, in words, and the largest distance of a log-probability."""
    wrong = []
    if tokens["ids"] != prompt:
        wrong.append(f"prompt: {len(tokens['ids'])} and {len(prompt)} ids, the first difference at {first_difference(tokens['ids'], prompt)}")
    with torch.no_grad():
        logits = model(torch.tensor([prompt + answer["ids"]])).logits[0, len(prompt) - 1:]
    logprobs = logits.double().log_softmax(-1)
    wanted = greedy(model, prompt, count)
    if answer["ids"] != wanted:
        at = first_difference(answer["ids"], wanted)
        best = logprobs[at].topk(2)[0]
        wrong.append(f"answer: {len(answer['ids'])} and {len(wanted)} ids, the first difference at {at}, where the two best log-probabilities "
                     f"of transformers are {(best[0] - best[1]).item():.1e} apart")
    own = torch.tensor(answer["logprobs"], dtype=torch.double)
    gap = (own - logprobs[:-1].gather(1, torch.tensor(answer["ids"])[:, None])[:, 0]).abs().max().item()
    if not gap <= LOGPROB_LIMIT:  # so that NaN is a difference
        wrong.append(f"logprobs: up to {gap:.1e} apart")
    return wrong, gap


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--program", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent / "build" / "cohort")
    parser.add_argument("--count", type=int, default=64, help="tokens of an answer, at most")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    rows = cohort_rows(options.program, options.folder, options.count)
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(options.folder, dtype=torch.float32, attn_implementation="eager").eval()
    same, gaps = 0, []
    for conversation, tokens, answer in rows:
        prompt = tokenizer.apply_chat_template(conversation, add_generation_prompt=True, return_dict=True)["input_ids"]
        wrong, gap = compare(model, prompt, answer, tokens, options.count)
        for what in wrong:
            print(f"{conversation[0]['content']}  {what}", flush=True)
        same += not wrong
        gaps.append(gap)
    print(f"{same} of {len(gaps)} prompts and answers of up to {options.count} tokens are those of transformers {transformers.__version__}; "
          f"log-probabilities at most {torch.tensor(gaps).max().item():.1e} apart")
    return 0 if same == len(gaps) else 1


if __name__ == "__main__":
    sys.exit(main())
