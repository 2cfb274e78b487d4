//! The attributes of the plugin SDK: `#[plugin]` says what a plugin is, `#[operations]` what it does.
//!
//! Used through `prism_plugin_sdk`, which documents them and has the types that the generated code names.

mod operation;
mod operations;
mod plugin;
mod types;

use proc_macro::TokenStream;

/// Says what a plugin is: on its type.
///
/// ```text
/// #[plugin(name = "numbers", config = Config)]
/// ```
///
/// * `name = "…"`: the plugin's name.
/// * `config = Type`: what a namespace's `config` mapping is decoded to.
/// * `version = …`: any `&'static str`; the crate's version without it.
/// * `implements = KeyValue`: an interface that the type implements whole (`impl KeyValue for …`).
/// * `descriptors = …`: any `&'static [u8]` with an encoded `FileDescriptorSet` of the plugin's own messages.
#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    plugin::expand(arguments.into(), &item.into()).into()
}

/// Says what a plugin does: on the inherent `impl` of the type with `#[plugin]`. Makes it a `BackendPlugin`.
///
/// * `#[init] async fn init(cx: InitContext<Config>) -> PluginResult<Self>`, required.
/// * `#[health] async fn health(&self) -> Health`, required.
/// * `#[metrics] fn metrics(&self) -> Metrics` and `#[shutdown] async fn shutdown(&self)`.
/// * `#[operation("name", read)] async fn f(&self, cx: &CallContext, params: P) -> PluginResult<R>`: `P` and
///   `R` are protobuf messages. The kind (`read`, `write` or `admin`) is required. The other words:
///   `idempotent`; `raw`, with `Bytes` or `Payload` for `P` and `R`; `stream`, for an answer of
///   `PluginResult<impl Stream<Item = PluginResult<R>> + Send + 'static>`; `bidi`, a stream whose parameters
///   are `Requests<P>`.
///
/// An operation may leave the context out, and take `self: &Arc<Self>` where a stream needs the instance.
#[proc_macro_attribute]
pub fn operations(arguments: TokenStream, item: TokenStream) -> TokenStream {
    operations::expand(&arguments.into(), &item.into()).into()
}
