"""Preparing data by itself: a composed configuration in, the filled cache out."""

from __future__ import annotations

from hydra.utils import instantiate
from omegaconf import DictConfig

from cycle_am.app.config import check_config
from cycle_am.errors import UserError


def prepare(cfg: DictConfig) -> str:
    """Fill the cache, or one shard's part of it; returns what there is, in words.

    Raises UserError for data that has no shards and for a shard that there is not.
    """
    check_config(cfg)
    data = instantiate(cfg.data, _convert_="all")
    if cfg.shard is None:
        data.prepare_data()
        data.setup()
        return data.describe()
    if not hasattr(data, "prepare_shard"):
        raise UserError(
            f"data={cfg.data_name} is prepared in one go; leave out shard (shards are for data=lidc)"
        )
    if not 0 <= cfg.shard < cfg.shards:
        raise UserError(f"shard={cfg.shard} of shards={cfg.shards}; give 0 to {cfg.shards - 1}")
    return (
        f"shard {cfg.shard} of {cfg.shards}: {data.prepare_shard(cfg.shard, cfg.shards)} scans are prepared"
    )
