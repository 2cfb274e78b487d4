//! `#[plugin]`: what a plugin is, as an implementation of the SDK's `Declaration`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Expr, Ident, LitStr, Path, Token, Type,
    parse::{Parse, ParseStream},
    spanned::Spanned,
};

const SYNTAX: &str = "write `#[plugin(name = \"…\", config = Type)]`";

#[derive(Default)]
struct Arguments {
    name: Option<LitStr>,
    config: Option<Type>,
    version: Option<Expr>,
    implements: Option<Path>,
    descriptors: Option<Expr>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut all = Self::default();
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            input.parse::<Token![=]>()?;
            let again = match &*key.to_string() {
                "name" => all.name.replace(input.parse()?).is_some(),
                "config" => all.config.replace(input.parse()?).is_some(),
                "version" => all.version.replace(input.parse()?).is_some(),
                "implements" => all.implements.replace(input.parse()?).is_some(),
                "descriptors" => all.descriptors.replace(input.parse()?).is_some(),
                other => {
                    let known = "there are `name`, `config`, `version`, `implements` and `descriptors`";
                    return Err(syn::Error::new(key.span(), format!("unknown key `{other}`; {known}")));
                }
            };
            if again {
                return Err(syn::Error::new(key.span(), format!("`{key}` is given twice; leave one")));
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        if all.name.as_ref().is_some_and(|name| name.value().is_empty()) {
            return Err(syn::Error::new(all.name.span(), "the plugin's name is empty"));
        }
        Ok(all)
    }
}

pub(crate) fn expand(arguments: TokenStream, item: &TokenStream) -> TokenStream {
    match declaration(arguments, item) {
        Ok(declaration) => quote! { #item #declaration },
        Err(error) => {
            // The type stays, so that its other uses are not errors as well.
            let error = error.into_compile_error();
            quote! { #item #error }
        }
    }
}

fn declaration(arguments: TokenStream, item: &TokenStream) -> syn::Result<TokenStream> {
    let (name, generics) = match syn::parse2::<syn::Item>(item.clone())? {
        syn::Item::Struct(item) => (item.ident, item.generics),
        syn::Item::Enum(item) => (item.ident, item.generics),
        other => {
            let message = "`#[plugin]` stands on the plugin's type, a struct or an enum; on its `impl` stands \
                           `#[operations]`";
            return Err(syn::Error::new_spanned(other, message));
        }
    };
    let here = proc_macro2::Span::call_site();
    let Arguments { name: plugin, config, version, implements, descriptors } = syn::parse2(arguments)?;
    let missing = |key| syn::Error::new(here, format!("`{key}` is missing; {SYNTAX}"));
    let plugin = plugin.ok_or_else(|| missing("name"))?;
    let config = config.ok_or_else(|| missing("config"))?;
    let version = version.map_or_else(|| quote!(::core::env!("CARGO_PKG_VERSION")), |given| quote!(#given));
    let descriptors = descriptors.map_or_else(|| quote!(&[]), |given| quote!(#given));
    let sdk = quote!(::prism_plugin_sdk);
    let result = |value: TokenStream| quote!(::core::result::Result<#value, #sdk::abi::Error>);
    let (data, stream) = (result(quote!(#sdk::abi::Data)), result(quote!(#sdk::abi::ResponseStream)));
    let (interfaces, dispatch) = match implements {
        None => (quote!(&[]), TokenStream::new()),
        Some(path) if path.segments.last().is_some_and(|last| last.ident == "KeyValue") => {
            // At the interface's name, where a missing `impl` of it is shown.
            let (execute, watch) = (
                quote_spanned!(path.span()=> #sdk::kv::execute::<Self>),
                quote_spanned!(path.span()=> #sdk::kv::watch::<Self>),
            );
            let dispatch = quote! {
                async fn interface_execute(&self, request: #sdk::abi::Request) -> #data {
                    #execute(self, request).await
                }
                async fn interface_stream(&self, first: #sdk::abi::Request) -> #stream {
                    #watch(self, first).await
                }
            };
            (quote!(&["prism.kv.v1"]), dispatch)
        }
        Some(path) => {
            let message = "this is no interface of the SDK; there is `KeyValue` (prism.kv.v1)";
            return Err(syn::Error::new_spanned(path, message));
        }
    };
    // One library is one plugin, of one type.
    let library = generics.params.is_empty().then(|| {
        let entry = format_ident!("prism_plugin_entry_{}", name);
        quote! { #sdk::library! { #name, #entry } }
    });
    let (impl_generics, type_generics, clause) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics #sdk::macros::Declaration for #name #type_generics #clause {
            type Config = #config;
            const NAME: &'static str = #plugin;
            const VERSION: &'static str = #version;
            const INTERFACES: &'static [&'static str] = #interfaces;
            const DESCRIPTORS: &'static [u8] = #descriptors;
            #dispatch
        }
        #library
    })
}
