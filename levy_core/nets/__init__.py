"""Networks: modules called as ``net(x [B, *S], log_rho [B], cond) -> [B, *S]``."""
