"""Omni-SMoLA: a frozen vision-language model, a soft mixture of low-rank experts, and a page to see it work.

A map, from the bottom up (imports point down only):

    config                      what a mixture and a training run are made of: plain, validated values
    context · smola             the facts of one call · the mathematics: router, experts, the wrapped linear
    adapter · adapter_files     put experts on a model · on disk
    trace · divergence          record their routing · say how far two records are apart
    ablation                    take some out
    results                     the records that cross from the engine to the command line, API and page
    backbone · tasks            the frozen model · what it is asked
    metrics · data              how an answer is judged · rows to learn from
    engine · train · evaluate · bench   ask, sweep and compare · make experts · judge them · time them
    plots · ui                      arrays to pictures · the web page
"""

__version__ = "0.1.0"
