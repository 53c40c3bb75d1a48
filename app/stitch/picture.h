// Reading and writing photographs: JPEG and PNG, nothing else.
//
// Every input is a stranger's. Its header is read first, and its size is
// judged before a byte is allocated for its pixels.
#pragma once

#include <cstddef>
#include <opencv2/core/mat.hpp>
#include <stdexcept>
#include <string>

namespace stitch {

// The input is no picture that can be used. what() is a clause: "not a JPEG or PNG picture".
class BadPicture : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The output cannot be written. what() is a clause.
class CannotWrite : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Reads `path` as 8-bit BGR, upright (EXIF orientation applied, alpha on black).
// Throws BadPicture when it is no picture, is cut short, or has more than `max_pixels`.
cv::Mat read_picture(const std::string& path, std::size_t max_pixels);

// Writes `picture` (8-bit BGR) as JPEG of `quality` (1 to 100): beside `path`, synced, then renamed.
// Throws CannotWrite; `path` is then as it was.
void write_jpeg(const std::string& path, const cv::Mat& picture, int quality);

}  // namespace stitch
