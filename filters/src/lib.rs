//! The filter chain: request and response bodies, rejections, the Filter trait and its registry.
