#include "exif.h"

#include <cstring>
#include <opencv2/core.hpp>

namespace stitch {
namespace {

constexpr std::uint8_t kHeader[] = {'E', 'x', 'i', 'f', 0, 0};
constexpr std::uint16_t kOrientationTag = 0x0112;
constexpr std::size_t kEntrySize = 12;

// A TIFF structure: numbers in the byte order that its first two bytes name.
class Tiff {
public:
    Tiff(const std::uint8_t* data, std::size_t size)
        : data_(data), size_(size), big_endian_(size > 0 && data[0] == 'M') {}

    bool has(std::size_t offset, std::size_t count) const {
        return offset <= size_ && count <= size_ - offset;
    }
    std::uint16_t u16(std::size_t offset) const {
        const unsigned a = data_[offset];
        const unsigned b = data_[offset + 1];
        return static_cast<std::uint16_t>(big_endian_ ? a << 8 | b : b << 8 | a);
    }
    std::uint32_t u32(std::size_t offset) const {
        const std::uint32_t a = u16(offset);
        const std::uint32_t b = u16(offset + 2);
        return big_endian_ ? a << 16 | b : b << 16 | a;
    }

private:
    const std::uint8_t* data_;
    std::size_t size_;
    bool big_endian_;
};

}  // namespace

int exif_orientation(const std::uint8_t* data, std::size_t size) {
    if (size < sizeof kHeader || std::memcmp(data, kHeader, sizeof kHeader) != 0) return 1;
    const Tiff tiff(data + sizeof kHeader, size - sizeof kHeader);
    if (!tiff.has(0, 8)) return 1;
    const std::size_t directory = tiff.u32(4);
    if (!tiff.has(directory, 2)) return 1;
    const std::size_t entries = tiff.u16(directory);
    for (std::size_t i = 0; i < entries; ++i) {
        const std::size_t entry = directory + 2 + i * kEntrySize;
        if (!tiff.has(entry, kEntrySize)) return 1;
        if (tiff.u16(entry) != kOrientationTag) continue;
        const int orientation = tiff.u16(entry + 8);
        return orientation >= 1 && orientation <= 8 ? orientation : 1;
    }
    return 1;
}

cv::Mat upright(const cv::Mat& picture, int orientation) {
    // Orientations 5 to 8 are the first four of the transposed picture.
    static constexpr int kNoFlip = 2;
    static constexpr int kFlip[] = {kNoFlip, 1, -1, 0, kNoFlip, 1, -1, 0};
    cv::Mat result = picture;
    if (orientation >= 5) cv::transpose(picture, result);
    const int flip = kFlip[orientation - 1];
    if (flip != kNoFlip) cv::flip(result, result, flip);
    return result;
}

}  // namespace stitch
