/* The short-time Fourier transform of MDX-Net and RoFormers, from samples to spectra and back.
 *
 * A frame is `size` samples, the next one starts `hop` samples later, and the first one is centred on the first sample.
 * The signal is reflected at both ends. `frames` frames belong to hop (frames - 1) samples. A spectrum has the lowest
 * `bins` bins: [2][bins][frames], real parts, then imaginary parts.
 *
 * Any number of threads may call stft_forward and stft_inverse of the same transform. */
#ifndef STFT_H
#define STFT_H

#include "tdfnet.h"

typedef struct stft stft;

/* `hop` <= `size`; at most size / 2 + 1 bins; more samples than size / 2. */
struct stft_shape {
    int size, hop, bins, frames;
};

/* Creates a transform with the window[size], which is copied. It uses no instruction set wider than `isa`. This and all
 * other functions return a status of tdfnet.h. TDFNET_UNSUPPORTED: `size` is odd or has prime factors above 5. */
TDFNET_API int stft_create(stft **result, int isa, const struct stft_shape *shape, const float *window);
TDFNET_API void stft_free(stft *stft);

/* samples[hop (frames - 1)] -> spectrum */
TDFNET_API int stft_forward(const stft *stft, const float *samples, float *spectrum);

/* spectrum -> samples, whose windowed frames are closest to the spectrum (Griffin and Lim, 1984). Bins that are missing
 * are 0. The imaginary parts of the first and of the last bin have no meaning. */
TDFNET_API int stft_inverse(const stft *stft, const float *spectrum, float *samples);

#endif
