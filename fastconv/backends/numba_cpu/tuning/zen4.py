"""These are the values of AMD Zen 4, measured on an EPYC with 32 KiB of L1 and 1 MiB of L2 cache a core.

It executes an instruction of 512 bits in two halves.
"""

from __future__ import annotations

from fastconv.backends.numba_cpu.tuning.cost_model import (
    CostModel,
    DepthwiseCosts,
    DirectCosts,
    FormCosts,
    GemmCosts,
    ImageLanesCosts,
    IssueCosts,
    MatmulCosts,
    RouteCosts,
    SparseGradCosts,
    WinogradCosts,
)

ZEN4 = CostModel(
    name="Zen 4",
    issue=IssueCosts(
        accumulators=8,
        load=0.1,
    ),
    gemm=GemmCosts(
        tile=40,
        write=4,
        pack=1.0,
        pixel=5,
        transpose=5,
        small=40_000,
        steps=384,
        block_bytes=384 << 10,
        pixels=256,
        narrowest=128,
        plane_bytes=384 << 10,
        parts_bytes=4 << 20,
    ),
    direct=DirectCosts(
        piece=3,
        copy=6,
        row=10,
    ),
    winograd=WinogradCosts(
        # Those of F(4 x 4) are in the proportion to F(2 x 2)'s that was measured on Zen 5: there a vector of patches
        # takes 310 and 65, one more span 70 and 43, sums 224 and 85, kernels 230 and 105, gradients 244 and 101. Sums
        # count a quarter more, since results that no cache holds wait for memory: 3 channels to 64 at 224 x 224 pixels.
        two=FormCosts(
            steps=128,
            sums_bytes=512 << 10,
            read=45,
            span=30,
            transform=60,
            kernel=80,
            channels=128,
            spread=70,
            gather=20,
        ),
        four=FormCosts(
            steps=64,
            sums_bytes=1536 << 10,
            read=220,
            span=50,
            transform=200,
            kernel=175,
            channels=128,
            spread=170,
            gather=30,
        ),
        kernels_bytes=384 << 10,
        patch_bytes=16 << 20,
        stream=10,
        patches=64,
        grad_bytes=4 << 20,
    ),
    image_lanes=ImageLanesCosts(
        chain=512,
        vector=8,
        line=30,
        tap=6,
        miss=7,
        near_bytes=24 << 10,
    ),
    matmul=MatmulCosts(
        steps=192,
        in_place=96,
        scattered=0.5,
        column=30,
        dot=20,
        product=2.5,
        most_bytes=8 << 20,
        sets=64,
        ways=8,
        line=64,
    ),
    depthwise=DepthwiseCosts(
        task=20_000,
        load=1.0,
        free_taps=12,
        spill=0.5,
        line=2,
        call=60,
    ),
    sparse_grad=SparseGradCosts(
        strip_vectors=4,
        strips_bytes=128 << 10,
        plane_bytes=32 << 10,
        whole_bytes=256 << 10,
        sums_bytes=256 << 10,
        lists_bytes=64 << 10,
        list=4,
        call=20,
        load=1.2,
        update=2.5,
        square=8,
        sums=4,
        weights=2,
        spread=2.5,
        live=0.65,
    ),
    routes=RouteCosts(
        pack=1,
        place=2,
        job=20_000,
        fold=2,
        columns_bytes=8 << 20,
        most_bytes=64 << 20,
    ),
)
