//! The allocator of a `no_std` handler. It hands out the memory behind the static data, from the bottom up.
//!
//! It never frees and never grows the memory: an instance lives for one call, and growing costs two mprotects (8 µs),
//! more than the whole call. When the memory is used up it returns null, which ends the call with a trap. Besides this
//! file, only `export` and the generated bindings contain `unsafe`.

/// The start and the end of the next block. Pure, so that it can be tested natively.
#[cfg(any(target_family = "wasm", test))]
fn place(top: usize, end: usize, size: usize, align: usize) -> Option<(usize, usize)> {
    let start = top.checked_next_multiple_of(align)?;
    let next = start.checked_add(size)?;
    (next <= end).then_some((start, next))
}

#[cfg(target_family = "wasm")]
pub use allocator::{Arena, realloc};

#[cfg(target_family = "wasm")]
#[expect(unsafe_code, reason = "an allocator is unsafe by nature; everything else is built on it")]
mod allocator {
    use core::alloc::{GlobalAlloc, Layout};
    use core::arch::wasm32::memory_size;
    use core::ptr::{null_mut, with_exposed_provenance_mut};
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::place;

    const PAGE_BYTES: usize = 65536;

    // `no_std` crates do not bring libc, but the compiler calls its memcpy and memcmp.
    // SAFETY: declares no function; the linker defines `__heap_base`, and only its address is taken.
    #[link(name = "c")]
    unsafe extern "C" {
        static __heap_base: u8;
    }

    /// The memory behind the static data. There may be only one.
    pub struct Arena {
        // Atomic only because a static has to be `Sync`; without threads these are plain loads and stores.
        top: AtomicUsize,
    }

    impl Arena {
        /// An empty arena.
        #[expect(clippy::new_without_default, reason = "only ever created in a static, where default cannot be called")]
        pub const fn new() -> Self {
            Self { top: AtomicUsize::new(0) }
        }

        fn top(&self) -> usize {
            self.top.load(Relaxed).max((&raw const __heap_base).addr())
        }
    }

    // SAFETY: every block lies between `__heap_base` and the end of the memory, behind all blocks before it, and no
    // block is handed out twice, except the room that the last block gave up when it shrank.
    unsafe impl GlobalAlloc for Arena {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let end = memory_size(0) * PAGE_BYTES;
            match place(self.top(), end, layout.size(), layout.align()) {
                Some((start, next)) => {
                    self.top.store(next, Relaxed);
                    with_exposed_provenance_mut(start)
                }
                None => null_mut(),
            }
        }

        unsafe fn dealloc(&self, _block: *mut u8, _layout: Layout) {}

        unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
            // A Vec that grows while nothing else is allocated stays where it is.
            if block.addr() + layout.size() == self.top() {
                let end = memory_size(0) * PAGE_BYTES;
                return match place(block.addr(), end, new_size, 1) {
                    Some((_, next)) => {
                        self.top.store(next, Relaxed);
                        block
                    }
                    None => null_mut(),
                };
            }
            if new_size <= layout.size() {
                return block;
            }
            // SAFETY: the caller guarantees that the new size is not zero and does not overflow with this alignment.
            let moved = unsafe { self.alloc(Layout::from_size_align_unchecked(new_size, layout.align())) };
            if !moved.is_null() {
                // SAFETY: the new block is longer than the old one and lies behind it.
                unsafe { moved.copy_from_nonoverlapping(block, layout.size()) };
            }
            moved
        }
    }

    /// Allocates for the canonical ABI, which places requests and rows in the memory of the handler.
    ///
    /// # Safety
    /// `block` came from here with this size and alignment, or `size` is 0; `align` is a power of two.
    pub unsafe fn realloc(block: *mut u8, size: usize, align: usize, new_size: usize) -> *mut u8 {
        if new_size == 0 {
            return with_exposed_provenance_mut(align);
        }
        // SAFETY: the caller guarantees the alignment, and the sizes are below 4 GiB, the whole of a wasm32 memory.
        let placed = unsafe {
            if size == 0 {
                alloc::alloc::alloc(Layout::from_size_align_unchecked(new_size, align))
            } else {
                alloc::alloc::realloc(block, Layout::from_size_align_unchecked(size, align), new_size)
            }
        };
        assert!(!placed.is_null(), "the input from the host does not fit in the memory of the handler");
        placed
    }
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn blocks_are_aligned_and_never_pass_the_end() {
        for (top, size, align, placed) in [
            (100, 4, 1, Some((100, 104))),
            (101, 4, 4, Some((104, 108))),
            (101, 8, 8, Some((104, 112))),
            (104, 0, 8, Some((104, 104))),
            (120, 8, 8, Some((120, 128))),
            (120, 9, 8, None),
            (121, 8, 8, None),
            (128, 0, 1, Some((128, 128))),
            (100, usize::MAX, 1, None),
            (usize::MAX, 1, 8, None),
        ] {
            assert_eq!(place(top, 128, size, align), placed, "{size} bytes aligned to {align} behind {top}");
        }
    }
}
