//! The macro that makes a component of a handler.
//!
//! It expands to nothing in native builds and in tests, wherever these run: a test binary is an ordinary program, and
//! two handlers can be linked into one. Every handler invokes it once.

/// Makes a component of a [`Handler`](crate::Handler).
///
/// `export!(Stock)` is for a crate that is `no_std` on wasm: it also brings the allocator and the panic handler, and
/// the component imports no function. `export!(Stock, std)` is for a crate that uses std there: the component imports
/// WASI, which the manifest must grant.
///
/// In a build with debug assertions a panic leaves its message, file and line for the host to log.
#[macro_export]
macro_rules! export {
    ($handler:ty) => {
        $crate::export!(@component $handler, ());

        #[cfg(all(target_family = "wasm", not(test)))]
        const _: () = {
            #[global_allocator]
            static ARENA: $crate::arena::Arena = $crate::arena::Arena::new();

            #[panic_handler]
            fn panic(info: &::core::panic::PanicInfo<'_>) -> ! {
                $crate::panic::trap(info)
            }

            // SAFETY: the canonical ABI calls it with blocks it got here and with valid alignments.
            #[unsafe(export_name = "cabi_realloc")]
            unsafe extern "C" fn cabi_realloc(
                block: *mut u8,
                size: usize,
                align: usize,
                new_size: usize,
            ) -> *mut u8 {
                unsafe { $crate::arena::realloc(block, size, align, new_size) }
            }
        };
    };

    ($handler:ty, std) => {
        $crate::export!(@component $handler, {
            if cfg!(debug_assertions) {
                ::std::panic::set_hook(::std::boxed::Box::new(|info| {
                    let message = info.payload_as_str().unwrap_or("a panic without a message");
                    $crate::panic::record(format_args!("{message}"), info.location());
                }));
            }
        });
    };

    (@component $handler:ty, $before:expr) => {
        #[cfg(all(target_family = "wasm", not(test)))]
        const _: () = {
            struct Component;

            impl $crate::bindings::Guest for Component {
                fn prepare(request: $crate::Request) -> $crate::Plan {
                    $before;
                    // Never dropped: the instance ends with the call.
                    let request = ::core::mem::ManuallyDrop::new(request);
                    <$handler as $crate::Handler>::prepare(&request)
                }

                fn respond(
                    carry: $crate::alloc::vec::Vec<u8>,
                    outcome: $crate::Outcome,
                ) -> ::core::option::Option<$crate::Response> {
                    $before;
                    let carry = ::core::mem::ManuallyDrop::new(carry);
                    let outcome = ::core::mem::ManuallyDrop::new(outcome);
                    $crate::answered::<$handler>(&carry, &outcome)
                }
            }

            $crate::bindings::export!(Component with_types_in $crate::bindings);
        };
    };
}
