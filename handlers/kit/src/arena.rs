//! The allocator of a `no_std` handler. It hands out the memory behind the static data, from the bottom up.
//!
//! An instance lives for one call, so a block is only reused where that is cheap: the last one can grow, shrink and be
//! freed in place. Everything else is dropped with the instance. The memory has 64 KiB at first. A call that needs more
//! grows it, which costs two mprotects (8 µs) and leaves all other calls as they are; how far it may grow is decided by
//! the host (`memory_bytes_max`), which ends a call that wants more and logs it as a fault of kind `memory`.
//!
//! Besides this file, only `export` and the generated bindings contain `unsafe`.

/// The start and the end of the next block. Pure, so that it can be tested natively.
#[cfg(any(target_family = "wasm", test))]
fn place(top: usize, size: usize, align: usize) -> Option<(usize, usize)> {
    let start = top.checked_next_multiple_of(align)?;
    Some((start, start.checked_add(size)?))
}

#[cfg(target_family = "wasm")]
pub use allocator::{Arena, realloc};

#[cfg(target_family = "wasm")]
#[expect(unsafe_code, reason = "an allocator is unsafe by nature; everything else is built on it")]
mod allocator {
    use core::alloc::{GlobalAlloc, Layout};
    use core::arch::wasm32::{memory_grow, memory_size};
    use core::ptr::{null_mut, with_exposed_provenance_mut};
    use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

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
        top: AtomicPtr<u8>,
    }

    impl Arena {
        /// An empty arena.
        #[expect(clippy::new_without_default, reason = "only ever created in a static, where default cannot be called")]
        pub const fn new() -> Self {
            Self::from((&raw const __heap_base).cast_mut())
        }

        /// An arena whose memory begins here.
        pub(super) const fn from(start: *mut u8) -> Self {
            Self { top: AtomicPtr::new(start) }
        }

        fn top(&self) -> usize {
            self.top.load(Relaxed).addr()
        }

        /// Ends the last block here, in a memory that is large enough. Returns whether it is.
        #[inline]
        fn end_at(&self, top: usize) -> bool {
            let fits = top <= end() || grow(top);
            if fits {
                self.top.store(with_exposed_provenance_mut(top), Relaxed);
            }
            fits
        }
    }

    /// The end of the memory.
    fn end() -> usize {
        memory_size(0) * PAGE_BYTES
    }

    /// Grows the memory up to an address, by no more pages than that needs: one more could be one too many.
    #[cold]
    #[inline(never)]
    fn grow(to: usize) -> bool {
        memory_grow(0, (to - end()).div_ceil(PAGE_BYTES)) != usize::MAX
    }

    // SAFETY: every block lies between the start of the arena and the end of the memory, behind all blocks before it,
    // and no block is handed out twice, except the room that the last block gave up when it shrank or was freed.
    unsafe impl GlobalAlloc for Arena {
        #[inline]
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            match place(self.top(), layout.size(), layout.align()) {
                Some((start, top)) if self.end_at(top) => with_exposed_provenance_mut(start),
                _ => null_mut(),
            }
        }

        #[inline]
        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            if block.addr() + layout.size() == self.top() {
                self.top.store(block, Relaxed);
            }
        }

        unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
            // A Vec that grows while nothing else is allocated stays where it is.
            if block.addr() + layout.size() == self.top() {
                return match block.addr().checked_add(new_size) {
                    Some(top) if self.end_at(top) => block,
                    _ => null_mut(),
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
    fn blocks_are_aligned_and_never_wrap() {
        for (top, size, align, placed) in [
            (100, 4, 1, Some((100, 104))),
            (101, 4, 4, Some((104, 108))),
            (101, 8, 8, Some((104, 112))),
            (104, 0, 8, Some((104, 104))),
            (100, usize::MAX, 1, None),
            (usize::MAX, 1, 8, None),
        ] {
            assert_eq!(place(top, size, align), placed, "{size} bytes aligned to {align} behind {top}");
        }
    }
}

/// On wasm only (`galo test`). Each arena is at the end of the memory of the test program, whose own allocator must not
/// grow the memory while it is used: nothing here allocates until the test is over.
#[cfg(all(test, target_family = "wasm"))]
#[expect(unsafe_code, reason = "calls an allocator")]
mod tests_on_wasm {
    use core::alloc::{GlobalAlloc as _, Layout};
    use core::arch::wasm32::{memory_grow, memory_size};

    use super::Arena;

    const PAGE: usize = 65536;

    /// An arena with one page.
    fn arena() -> Arena {
        Arena::from(core::ptr::with_exposed_provenance_mut(memory_grow(0, 1) * PAGE))
    }

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).expect("a size that an address holds")
    }

    fn fill(block: *mut u8, size: usize, byte: u8) {
        unsafe { block.write_bytes(byte, size) };
    }

    fn holds(block: *mut u8, size: usize, byte: u8) -> bool {
        unsafe { core::slice::from_raw_parts(block, size) }.iter().all(|found| *found == byte)
    }

    #[test]
    fn the_memory_grows_by_the_pages_that_a_block_needs_and_only_then() {
        let (arena, pages) = (arena(), memory_size(0));
        let sizes = [(PAGE, 1), (1, 2), (PAGE - 8, 3), (3 * PAGE, 4), (8, 5)];
        let blocks = sizes.map(|(size, byte)| {
            let block = unsafe { arena.alloc(layout(size)) };
            fill(block, size, byte);
            (block, memory_size(0) - pages)
        });
        assert_eq!(blocks.map(|(_, grown)| grown), [0, 1, 1, 4, 5]);
        assert!(blocks.iter().zip(sizes).all(|((block, _), (size, byte))| holds(*block, size, byte)));
    }

    #[test]
    fn only_the_last_block_is_freed() {
        let arena = arena();
        let (first, last) = unsafe { (arena.alloc(layout(16)), arena.alloc(layout(24))) };
        let next = unsafe {
            arena.dealloc(first, layout(16));
            arena.dealloc(last, layout(24));
            arena.alloc(layout(8))
        };
        assert_eq!(next, last);
    }

    #[test]
    fn the_last_block_grows_in_place_beyond_the_memory_and_gives_back_what_it_gives_up() {
        let (arena, pages) = (arena(), memory_size(0));
        let block = unsafe { arena.alloc(layout(100)) };
        fill(block, 100, 7);
        let grown = unsafe { arena.realloc(block, layout(100), 2 * PAGE) };
        let grown_by = memory_size(0) - pages;
        let (shrunk, next) = unsafe { (arena.realloc(grown, layout(2 * PAGE), 104), arena.alloc(layout(8))) };
        assert_eq!((grown, grown_by, shrunk), (block, 1, block));
        assert_eq!(next.addr(), block.addr() + 104);
        assert!(holds(block, 100, 7));
    }

    #[test]
    fn another_block_moves_when_it_grows_and_stays_when_it_shrinks() {
        let arena = arena();
        let (first, second) = unsafe { (arena.alloc(layout(64)), arena.alloc(layout(8))) };
        fill(first, 64, 9);
        fill(second, 8, 1);
        let (moved, stays) = unsafe { (arena.realloc(first, layout(64), PAGE), arena.realloc(first, layout(64), 8)) };
        assert!(moved.addr() > second.addr() && holds(moved, 64, 9) && holds(second, 8, 1));
        assert_eq!(stays, first);
    }

    #[test]
    fn a_block_that_no_memory_holds_is_refused_and_the_next_one_is_not() {
        let arena = arena();
        let (block, larger) = unsafe { (arena.alloc(layout(1 << 30)), arena.alloc(layout(0x7000_0000))) };
        let next = unsafe { arena.alloc(layout(8)) };
        assert!(block.is_null() && larger.is_null() && !next.is_null());
        let grown = unsafe { arena.realloc(next, layout(8), 1 << 30) };
        assert!(grown.is_null());
    }
}
