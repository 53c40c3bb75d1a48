// JPEG by libjpeg-turbo.
#include <csetjmp>
#include <cstdio>
// jpeglib.h needs size_t and FILE before it.
#include <jpeglib.h>

#include <memory>

#include "codec.h"
#include "exif.h"

namespace stitch {
namespace {

// libjpeg reports errors by a call that must not return.
struct ErrorManager {
    jpeg_error_mgr base;  // first: libjpeg hands out a pointer to it
    std::jmp_buf jump;
    char message[JMSG_LENGTH_MAX];
};

void on_error(j_common_ptr codec) {
    auto* manager = reinterpret_cast<ErrorManager*>(codec->err);
    codec->err->format_message(codec, manager->message);
    std::longjmp(manager->jump, 1);
}

// A warning means damaged data, which libjpeg would fill with grey.
void on_message(j_common_ptr codec, int level) {
    if (level < 0) on_error(codec);
}

void install(jpeg_error_mgr** slot, ErrorManager& manager) {
    *slot = jpeg_std_error(&manager.base);
    manager.base.error_exit = on_error;
    manager.base.emit_message = on_message;
}

int orientation_of(const jpeg_decompress_struct& codec) {
    for (auto* marker = codec.marker_list; marker != nullptr; marker = marker->next) {
        if (marker->marker == JPEG_APP0 + 1) {
            return exif_orientation(marker->data, marker->data_length);
        }
    }
    return 1;
}

// CMYK as Adobe writes it: inverted, so that each ink is a factor.
void cmyk_to_bgr(const cv::Mat& cmyk, cv::Mat& bgr) {
    for (int y = 0; y < cmyk.rows; ++y) {
        const auto* from = cmyk.ptr<cv::Vec4b>(y);
        auto* to = bgr.ptr<cv::Vec3b>(y);
        for (int x = 0; x < cmyk.cols; ++x) {
            const int black = from[x][3];
            for (int c = 0; c < 3; ++c) {
                to[x][c] = static_cast<unsigned char>(from[x][2 - c] * black / 255);
            }
        }
    }
}

}  // namespace

cv::Mat read_jpeg(std::FILE* file, std::size_t max_pixels) {
    jpeg_decompress_struct codec{};
    ErrorManager errors{};
    install(&codec.err, errors);
    // Objects with destructors live outside the region that longjmp leaves.
    cv::Mat pixels;
    int orientation = 1;
    bool too_large = false;
    if (setjmp(errors.jump)) {
        jpeg_destroy_decompress(&codec);
        throw BadPicture(std::string("a damaged JPEG: ") + errors.message);
    }
    jpeg_create_decompress(&codec);
    jpeg_save_markers(&codec, JPEG_APP0 + 1, 0xFFFF);
    jpeg_stdio_src(&codec, file);
    jpeg_read_header(&codec, TRUE);
    orientation = orientation_of(codec);
    too_large = !fits(codec.image_width, codec.image_height, max_pixels);
    if (!too_large) {
        const bool cmyk = codec.num_components == 4;
        codec.out_color_space = cmyk ? JCS_CMYK : JCS_EXT_BGR;
        jpeg_start_decompress(&codec);
        pixels.create(static_cast<int>(codec.output_height), static_cast<int>(codec.output_width),
                      cmyk ? CV_8UC4 : CV_8UC3);
        while (codec.output_scanline < codec.output_height) {
            JSAMPROW row = pixels.ptr(static_cast<int>(codec.output_scanline));
            jpeg_read_scanlines(&codec, &row, 1);
        }
        jpeg_finish_decompress(&codec);
    }
    jpeg_destroy_decompress(&codec);
    if (too_large) throw_too_large(codec.image_width, codec.image_height, max_pixels);
    if (pixels.channels() == 4) {
        cv::Mat bgr(pixels.size(), CV_8UC3);
        cmyk_to_bgr(pixels, bgr);
        pixels = bgr;
    }
    return upright(pixels, orientation);
}

void encode_jpeg(std::FILE* file, const cv::Mat& picture, int quality) {
    jpeg_compress_struct codec{};
    ErrorManager errors{};
    install(&codec.err, errors);
    if (setjmp(errors.jump)) {
        jpeg_destroy_compress(&codec);
        throw CannotWrite(errors.message);
    }
    jpeg_create_compress(&codec);
    jpeg_stdio_dest(&codec, file);
    codec.image_width = static_cast<JDIMENSION>(picture.cols);
    codec.image_height = static_cast<JDIMENSION>(picture.rows);
    codec.input_components = 3;
    codec.in_color_space = JCS_EXT_BGR;
    jpeg_set_defaults(&codec);
    jpeg_set_quality(&codec, quality, TRUE);
    jpeg_start_compress(&codec, TRUE);
    while (codec.next_scanline < codec.image_height) {
        JSAMPROW row = const_cast<JSAMPROW>(picture.ptr(static_cast<int>(codec.next_scanline)));
        jpeg_write_scanlines(&codec, &row, 1);
    }
    jpeg_finish_compress(&codec);
    jpeg_destroy_compress(&codec);
}

}  // namespace stitch
