#!/usr/bin/env python3
"""Makes the Parquet fixtures beside it, and the same rows as JSONL (needs pyarrow; written with 26.0.1).

rows.parquet     verl's columns, nested, three row groups; zstd, with columns of types that are not read
rows.jsonl       the same rows
trl.parquet      TRL's and SFT's columns; null where a row has none
deep.parquet     a column `prompt` nested 12 deep
nulls.parquet    60,000 rows that hold nothing, in few bytes
bomb.parquet     20,000 rows of one string of 600 kB: some kB in the file, 12 GB when read at once
too_many.parquet 100 million rows of nothing
"""

import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).resolve().parent
MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])


def verl_row(i):
    system = [{"role": "system", "content": "Answer briefly."}] if i % 3 == 0 else []
    return {
        "data_source": ["openai/gsm8k", "own", "math_dapo"][i % 3],
        "prompt": system + [{"role": "user", "content": f"Number {i}: how many? 多少 \U0001f600"}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": ["1,07%d" % (i % 10), "words", "\\frac{%d}{7}" % i][i % 3]},
        "extra_info": {"index": i, "split": "train", "answer": f"So {i}.\n#### 1,07{i % 10}" if i % 3 == 0 else None},
    }


def main():
    rows = [verl_row(i) for i in range(40)]
    schema = pa.schema([
        ("data_source", pa.dictionary(pa.int32(), pa.string())),
        ("prompt", pa.list_(MESSAGE)),
        ("ability", pa.string()),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.large_string())])),
        ("extra_info", pa.struct([("index", pa.int64()), ("split", pa.string()), ("answer", pa.string())])),
    ])
    table = pa.Table.from_pylist(rows, schema=schema)
    table = table.append_column("made", pa.array([i * 86400 for i in range(40)], pa.timestamp("s")))
    table = table.append_column("picture", pa.array([b"\x00\xff"] * 40, pa.binary()))
    pq.write_table(table, HERE / "rows.parquet", row_group_size=15, compression="zstd")
    with open(HERE / "rows.jsonl", "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")

    pq.write_table(
        pa.Table.from_pylist([
            {"prompt": "What is 2+2?", "answer": "4"},
            {"prompt": "What is 1/2?", "answer": "So \\boxed{\\frac12}."},
            {"prompt": "Say hi.", "completion": "Hi."},
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "<think>a</think>b"}]},
            {"prompt": None},
        ], schema=pa.schema([("prompt", pa.string()), ("answer", pa.string()), ("completion", pa.string()),
                             ("messages", pa.list_(MESSAGE))])),
        HERE / "trl.parquet", compression="snappy")

    kind, value = pa.string(), "x"
    for _ in range(12):
        kind, value = pa.list_(kind), [value]
    pq.write_table(pa.table({"prompt": pa.array([value], kind)}), HERE / "deep.parquet")
    pq.write_table(pa.table({"prompt": pa.nulls(60_000, pa.string())}), HERE / "nulls.parquet")
    bomb = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 600_000]))
    pq.write_table(pa.table({"prompt": bomb, "answer": pa.array(["1"] * 20_000)}), HERE / "bomb.parquet", compression="zstd", store_schema=False)
    with pq.ParquetWriter(HERE / "too_many.parquet", pa.schema([("prompt", pa.string())])) as writer:
        for _ in range(10):
            writer.write_table(pa.table({"prompt": pa.nulls(10_000_000, pa.string())}), row_group_size=10_000_000)


if __name__ == "__main__":
    main()
