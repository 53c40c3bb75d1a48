// PNG by libpng.
#include <csetjmp>
#include <png.h>

#include <vector>

#include "codec.h"

namespace stitch {
namespace {

struct Failure {
    std::jmp_buf jump;
    char message[200];
};

void on_error(png_structp png, png_const_charp message) {
    auto* failure = static_cast<Failure*>(png_get_error_ptr(png));
    std::snprintf(failure->message, sizeof failure->message, "%s", message);
    std::longjmp(failure->jump, 1);
}

void on_warning(png_structp, png_const_charp) {}  // of ancillary data, which is not used

// Ancillary chunks (text, profiles) may be compressed bombs: they are bounded here.
constexpr png_uint_32 kMaxCachedChunks = 16;
constexpr png_alloc_size_t kMaxChunkBytes = 1 << 20;

// Any bit depth and colour type as 8-bit BGR; what is transparent becomes black.
void ask_for_bgr(png_structp png, png_infop info) {
    png_set_expand(png);
    png_set_scale_16(png);
    png_set_gray_to_rgb(png);
    png_set_bgr(png);
    png_color_16 black{};
    png_set_background(png, &black, PNG_BACKGROUND_GAMMA_SCREEN, 0, 1.0);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
}

}  // namespace

cv::Mat read_png(std::FILE* file, std::size_t max_pixels) {
    Failure failure{};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &failure, on_error, on_warning);
    png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
    if (info == nullptr) throw BadPicture("a PNG for which there is no memory");
    // Objects with destructors live outside the region that longjmp leaves.
    cv::Mat pixels;
    std::vector<png_bytep> rows;
    png_uint_32 width = 0;
    png_uint_32 height = 0;
    if (setjmp(failure.jump)) {
        png_destroy_read_struct(&png, &info, nullptr);
        throw BadPicture(std::string("a damaged PNG: ") + failure.message);
    }
    png_set_chunk_cache_max(png, kMaxCachedChunks);
    png_set_chunk_malloc_max(png, kMaxChunkBytes);
    png_init_io(png, file);
    png_read_info(png, info);
    width = png_get_image_width(png, info);
    height = png_get_image_height(png, info);
    if (fits(width, height, max_pixels)) {
        ask_for_bgr(png, info);
        pixels.create(static_cast<int>(height), static_cast<int>(width), CV_8UC3);
        if (png_get_rowbytes(png, info) != pixels.step[0]) png_error(png, "an unknown colour type");
        for (png_uint_32 y = 0; y < height; ++y) rows.push_back(pixels.ptr(static_cast<int>(y)));
        png_read_image(png, rows.data());
        png_read_end(png, nullptr);
    }
    png_destroy_read_struct(&png, &info, nullptr);
    if (pixels.empty()) throw_too_large(width, height, max_pixels);
    return pixels;
}

}  // namespace stitch
