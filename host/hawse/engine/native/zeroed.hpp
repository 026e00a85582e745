// Memory that is zero until it is written, and of which only what was touched takes room.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <new>
#include <type_traits>
#include <utility>

namespace hawse {

template <class T> class Zeroed {
    static_assert(std::is_trivially_copyable<T>::value && std::is_trivially_destructible<T>::value, "zero bytes");

  public:
    Zeroed() = default;
    explicit Zeroed(size_t count) : count_(count), memory_(std::calloc(count * sizeof(T) + LINE, 1)) {
        if (!memory_)
            throw std::bad_alloc();
        const auto at = reinterpret_cast<uintptr_t>(memory_);
        items_ = reinterpret_cast<T *>((at + LINE - 1) & ~uintptr_t(LINE - 1));
    }
    Zeroed(Zeroed &&other) noexcept { swap(other); }
    Zeroed &operator=(Zeroed &&other) noexcept {
        swap(other);
        return *this;
    }
    ~Zeroed() { std::free(memory_); }

    T &operator[](size_t i) { return items_[i]; }
    const T &operator[](size_t i) const { return items_[i]; }
    size_t size() const { return count_; }

    // Have the memory of some items at hand, so that no first touch of a page is waited for later.
    void touch(size_t first, size_t last) {
        constexpr size_t PAGE = 4096;
        auto *at = reinterpret_cast<volatile char *>(items_ + first);
        for (size_t i = 0; i < (last - first) * sizeof(T); i += PAGE)
            at[i] = 0;
    }

  private:
    static constexpr size_t LINE = 64; // a line of the cache, where the first item begins

    void swap(Zeroed &other) {
        std::swap(count_, other.count_);
        std::swap(memory_, other.memory_);
        std::swap(items_, other.items_);
    }

    size_t count_ = 0;
    void *memory_ = nullptr;
    T *items_ = nullptr;
};

} // namespace hawse
