//! `#[operations]`: an inherent `impl` as an implementation of `BackendPlugin`.

use crate::operation::{Operation, Words, asynchronous, receiver};
use proc_macro2::{Span, TokenStream};
use quote::quote;
use std::collections::HashMap;
use syn::{Attribute, FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, Meta, spanned::Spanned};

const ROLES: [&str; 5] = ["init", "health", "metrics", "shutdown", "operation"];

#[derive(Default)]
struct Parts {
    single: HashMap<&'static str, Ident>,
    operations: Vec<Operation>,
    errors: Option<syn::Error>,
}

impl Parts {
    fn note(&mut self, error: syn::Error) {
        match &mut self.errors {
            Some(errors) => errors.combine(error),
            None => self.errors = Some(error),
        }
    }

    fn take(&mut self, role: &'static str, attribute: &Attribute, method: &ImplItemFn) -> syn::Result<()> {
        if role == "operation" {
            let words: Words = match &attribute.meta {
                Meta::List(list) => list.parse_args()?,
                other => {
                    let message = "an operation has a name and a kind: `#[operation(\"name\", read)]`";
                    return Err(syn::Error::new_spanned(other, message));
                }
            };
            if self.operations.iter().any(|known| known.name.value() == words.name.value()) {
                let message = format!("there is an operation `{}` already; names differ", words.name.value());
                return Err(syn::Error::new(words.name.span(), message));
            }
            self.operations.push(Operation::new(words, method)?);
            return Ok(());
        }
        if !matches!(attribute.meta, Meta::Path(_)) {
            let message = format!("`#[{role}]` takes nothing in parentheses");
            return Err(syn::Error::new(attribute.meta.span(), message));
        }
        check(role, method)?;
        if self.single.insert(role, method.sig.ident.clone()).is_some() {
            let message = format!("there is a `#[{role}]` already; a plugin has one");
            return Err(syn::Error::new_spanned(attribute, message));
        }
        Ok(())
    }
}

/// The signature of what is no operation.
fn check(role: &str, method: &ImplItemFn) -> syn::Result<()> {
    let inputs = &method.sig.inputs;
    if role == "init" {
        asynchronous(method, "`#[init]`")?;
        return match inputs.first() {
            Some(FnArg::Typed(_)) if inputs.len() == 1 => Ok(()),
            _ => {
                let message =
                    "`#[init]` builds the instance: it takes `cx: InitContext<Config>` and nothing else";
                Err(syn::Error::new(method.sig.paren_token.span.join(), message))
            }
        };
    }
    receiver(method)?;
    if inputs.len() != 1 {
        let message = format!("`#[{role}]` takes `&self` and nothing else");
        return Err(syn::Error::new(inputs.span(), message));
    }
    match (role, method.sig.asyncness) {
        ("metrics", Some(word)) => {
            let message = "`#[metrics]` is not `async`: it reads what was counted, and asks nobody";
            Err(syn::Error::new(word.span(), message))
        }
        ("metrics", None) => Ok(()),
        _ => asynchronous(method, &format!("`#[{role}]`")),
    }
}

pub(crate) fn expand(arguments: &TokenStream, item: &TokenStream) -> TokenStream {
    let mut block: ItemImpl = match syn::parse2(item.clone()) {
        Ok(block) => block,
        Err(error) => {
            let message = "`#[operations]` stands on the inherent `impl` of the plugin's type";
            let error = syn::Error::new(error.span(), message).into_compile_error();
            return quote! { #item #error };
        }
    };
    let mut parts = Parts::default();
    if !arguments.is_empty() {
        let message = "`#[operations]` takes nothing; name and interfaces stand in `#[plugin(…)]`";
        parts.note(syn::Error::new_spanned(arguments, message));
    }
    if let Some((_, path, _)) = &block.trait_ {
        let message = "`#[operations]` stands on the inherent `impl`; an interface is named in `#[plugin(…)]`: \
                       `implements = KeyValue`";
        parts.note(syn::Error::new_spanned(path, message));
    }
    for item in &mut block.items {
        let ImplItem::Fn(method) = item else { continue };
        let role = |attribute: &Attribute| ROLES.into_iter().find(|role| attribute.path().is_ident(role));
        let (ours, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut method.attrs).into_iter().partition(|attribute| role(attribute).is_some());
        method.attrs = others;
        if let [_, second, ..] = &ours[..] {
            parts.note(syn::Error::new_spanned(
                second,
                "a method is one thing; leave one of these attributes",
            ));
        } else if let [attribute] = &ours[..]
            && let Some(role) = role(attribute)
            && let Err(error) = parts.take(role, attribute, method)
        {
            parts.note(error);
        }
    }
    // What is missing is only said when nothing else is wrong: it may be there with a mistake in it.
    if parts.errors.is_none() {
        for (role, message) in [
            (
                "init",
                "`#[init]` is missing: `#[init] async fn init(cx: InitContext<Config>) -> PluginResult<Self>`",
            ),
            (
                "health",
                "`#[health]` is missing: `#[health] async fn health(&self) -> Health`; it must really ask \
                        the backend, because the proxy takes a namespace out by it",
            ),
        ] {
            if !parts.single.contains_key(role) {
                parts.note(syn::Error::new_spanned(&block.self_ty, message));
            }
        }
    }
    match parts.errors.take() {
        Some(error) => {
            let error = error.into_compile_error();
            quote! { #block #error }
        }
        None => {
            let implementation = implementation(&block, &parts);
            quote! { #block #implementation }
        }
    }
}

fn implementation(block: &ItemImpl, Parts { single, operations, .. }: &Parts) -> TokenStream {
    let sdk = quote!(::prism_plugin_sdk);
    let (this, (generics, _, clause)) = (&block.self_ty, block.generics.split_for_impl());
    let named = |role: &str| single.get(role).cloned().unwrap_or_else(|| Ident::new(role, Span::call_site()));
    let (init, health) = (named("init"), named("health"));
    // `Self::` finds the inherent method before the trait's of the same name.
    let metrics = single.get("metrics").map(|function| {
        quote! { fn metrics(&self) -> #sdk::abi::Metrics { Self::#function(self) } }
    });
    let shutdown = single.get("shutdown").map(|function| {
        quote! { async fn shutdown(&self) { Self::#function(self).await } }
    });
    let infos = operations.iter().map(|operation| &operation.info);
    let arms = |streaming| {
        operations.iter().filter(move |operation| operation.streaming == streaming).map(|known| &known.arm)
    };
    let (unary, streams) = (arms(false), arms(true));
    quote! {
        #[automatically_derived]
        impl #generics #sdk::BackendPlugin for #this #clause {
            type Config = <Self as #sdk::macros::Declaration>::Config;

            fn descriptor() -> #sdk::abi::Description {
                #[allow(unused_mut)]
                let mut own = ::std::vec::Vec::new();
                #(#infos)*
                #sdk::macros::describe::<Self>(own)
            }

            async fn initialize(
                context: #sdk::InitContext<Self::Config>,
            ) -> ::core::result::Result<Self, #sdk::abi::Error> {
                Self::#init(context).await
            }

            async fn health(&self) -> #sdk::abi::Health {
                Self::#health(self).await
            }

            #[allow(unused_variables)]
            async fn execute(
                self: &::std::sync::Arc<Self>,
                context: &#sdk::abi::CallContext,
                request: #sdk::abi::Request,
            ) -> ::core::result::Result<#sdk::abi::Data, #sdk::abi::Error> {
                match &*request.operation {
                    #(#unary)*
                    _ => <Self as #sdk::macros::Declaration>::interface_execute(&**self, request).await,
                }
            }

            #[allow(unused_variables)]
            async fn execute_stream(
                self: &::std::sync::Arc<Self>,
                context: &#sdk::abi::CallContext,
                request: #sdk::abi::Request,
                rest: #sdk::abi::RequestStream,
            ) -> ::core::result::Result<#sdk::abi::ResponseStream, #sdk::abi::Error> {
                match &*request.operation {
                    #(#streams)*
                    _ => <Self as #sdk::macros::Declaration>::interface_stream(&**self, request).await,
                }
            }

            #metrics
            #shutdown
        }
    }
}
