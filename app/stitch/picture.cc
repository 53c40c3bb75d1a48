#include "picture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "codec.h"

namespace stitch {
namespace {

struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

constexpr unsigned char kJpeg[] = {0xFF, 0xD8, 0xFF};
constexpr unsigned char kPng[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};

template <std::size_t N>
bool begins_with(const unsigned char (&magic)[N], const unsigned char* head, std::size_t size) {
    return size >= N && std::memcmp(head, magic, N) == 0;
}

File open_regular(const std::string& path) {
    // O_NONBLOCK: a FIFO without a writer must not make us wait.
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) throw BadPicture(std::strerror(errno));
    File file(fdopen(fd, "rb"));
    struct stat status {};
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) throw BadPicture("not a regular file");
    return file;
}

void sync_and_rename(std::FILE* file, const std::string& from, const std::string& to) {
    if (std::fflush(file) != 0 || fsync(fileno(file)) != 0) throw CannotWrite(std::strerror(errno));
    if (std::rename(from.c_str(), to.c_str()) != 0) throw CannotWrite(std::strerror(errno));
}

}  // namespace

void throw_too_large(std::uint32_t width, std::uint32_t height, std::size_t max_pixels) {
    throw BadPicture("too large: " + std::to_string(width) + " x " + std::to_string(height) +
                     " pixels, at most " + std::to_string(max_pixels / 1000000) + " megapixels");
}

cv::Mat read_picture(const std::string& path, std::size_t max_pixels) {
    const File file = open_regular(path);
    unsigned char head[sizeof kPng];
    const std::size_t size = std::fread(head, 1, sizeof head, file.get());
    std::rewind(file.get());
    if (begins_with(kJpeg, head, size)) return read_jpeg(file.get(), max_pixels);
    if (begins_with(kPng, head, size)) return read_png(file.get(), max_pixels);
    throw BadPicture("not a JPEG or PNG picture");
}

void write_jpeg(const std::string& path, const cv::Mat& picture, int quality) {
    std::string temporary = path + ".XXXXXX";
    const int fd = mkostemp(temporary.data(), O_CLOEXEC);
    if (fd < 0) throw CannotWrite(std::strerror(errno));
    try {
        const File file(fdopen(fd, "wb"));
        fchmod(fd, 0644);  // mkostemp made it private; the panorama is to be read by others
        encode_jpeg(file.get(), picture, quality);
        sync_and_rename(file.get(), temporary, path);
    } catch (const CannotWrite&) {
        unlink(temporary.c_str());
        throw;
    }
}

}  // namespace stitch
