"""Makes the embedded starter cross-encoder: a small ELECTRA student of a larger MS MARCO cross-encoder.

`python -m distillation --teacher DIR --data DIR --out DIR` does everything, in this order:

    pairs.py     sample (query, passage) pairs from dataset folders: relevant, BM25, same group, random
    teacher.py   score every pair once with the teacher, and keep its hidden states at a few tokens of each
    student.py   build the student from the teacher's own weights; fit its embeddings and its head
    train.py     train the student on the teacher's logits and hidden states
    evaluate.py  correlation with the teacher on held-out queries, nDCG@10 of reranking a BM25 list
    export.py    write the directory that ships: fp16 shards, tokenizer, model card
"""
