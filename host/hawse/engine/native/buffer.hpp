// A growing array of plain structs, which is cleared and filled again and again: what it grows by is not set to zero.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <type_traits>

namespace hawse {

template <class T> class Buffer {
    static_assert(std::is_trivially_copyable<T>::value, "memory moves as bytes");

  public:
    void clear() { size_ = 0; }

    // Room for `more` items, which add() then takes without a look.
    void reserve_more(size_t more) {
        if (size_ + more > capacity_)
            grow(size_ + more);
    }
    // One more, of any content.
    T &add() { return items_[size_++]; }

    void push_back(const T &item) {
        reserve_more(1);
        add() = item;
    }

    T *data() { return items_.get(); }
    const T *data() const { return items_.get(); }
    size_t size() const { return size_; }
    bool empty() const { return !size_; }
    T &operator[](size_t i) { return items_[i]; }
    const T &operator[](size_t i) const { return items_[i]; }
    const T &back() const { return items_[size_ - 1]; }
    const T *begin() const { return items_.get(); }
    const T *end() const { return items_.get() + size_; }

  private:
    __attribute__((noinline)) void grow(size_t least) {
        const size_t capacity = least > 2 * capacity_ ? least + 64 : 2 * capacity_;
        std::unique_ptr<T[]> larger(new T[capacity]);
        if (size_)
            std::memcpy(static_cast<void *>(larger.get()), items_.get(), size_ * sizeof(T));
        items_ = std::move(larger);
        capacity_ = capacity;
    }

    std::unique_ptr<T[]> items_;
    size_t size_ = 0, capacity_ = 0;
};

} // namespace hawse
