"""Networks: modules called as ``net(x [B, *S], log_rho [B], label [B]) -> [B, *S]``."""
